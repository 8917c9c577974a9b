# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154 # what is set is for others, and theirs is used
#
# What the tests of the fast path share; sourced after lib.sh.
#
# A datagram whose checksum happens to be that of its pseudo header goes up, once in 65,536, and
# others overtake it. So those that must be served in the driver, and in order, have ports that do
# not change, and the same checksums each time.

fast=(--fast-path auto)

# The other end of a cable as it is between hosts: frames of XDP reach it, and what it sends has its
# checksum.
real_end() { # NS DEVICE
	need_command ethtool
	must ip netns exec "$1" ethtool -K "$2" gro on
	must ip netns exec "$1" ethtool -K "$2" tx off >"$dir/ethtool.log"
}

setting() { # NS NAME VALUE: a sysctl
	# shellcheck disable=SC2016 # for another shell
	must ip netns exec "$1" sh -c 'echo "$2" >"/proc/sys/net/$1"' sh "${2//.//}" "$3"
}

# Asks FROM, a whole address: what is sent from there is the same each time.
ask() { # FROM TO ACTION...
	NS=$client must peer -f "udp:$1" datagram "udp:$2" "${@:3}"
}

# The same, and nothing more comes than was asked for.
ask_once() { # FROM TO ACTION...
	ask "$@" is-silent 100
}

mac_of() { # NS DEVICE
	ip -n "$1" -o link show "$2" | sed 's/.*link\/ether \([^ ]*\).*/\1/'
}

# Sends and receives one after the other.
in_turn() { # SIZE...
	local size
	for size; do
		printf 'send %s recv %s ' "$size" "$size"
	done
}

# COUNT times, with MS in between.
paced() { # COUNT MS [BYTES]
	printf "send ${3:-100} recv ${3:-100} pause $2 %.0s" $(seq "$1")
}

# By which interfaces the Nth listener of WHO is served.
served_by() { # WHO N INTERFACES
	local line
	line=$(grep '^listening ' "$dir/$1.out" | sed -n "$2p")
	[[ $line == *" fast-path=$3" ]] || fail "not by $3: $line"
}

# The log says of ADDRESS why it has no fast path.
told() { # WHO ADDRESS TEXT
	grep -qF -- "$2: no fast path: $3" "$dir/$1.err" ||
		fail "the log does not tell of $2: $(tail -n 3 "$dir/$1.err")"
}

# What INTERFACE has counted, 0 if nothing; after `counters`.
by() { # INTERFACE WHAT
	echo "${count[xdp_$1_$2]:-0}"
}

fast_has_reached() { # WHO INTERFACE WHAT VALUE
	counters "$1"
	((${count[xdp_$2_$3]:-0} >= $4))
}

# COMMAND again and again until INTERFACE has counted VALUE of WHAT.
until_fast() { # INTERFACE WHAT VALUE COMMAND...
	wait_until 15 try_fast "$@" || fail "xdp_$1_$2 is $(by "$1" "$2") instead of $3"
}

try_fast() { # INTERFACE WHAT VALUE COMMAND...
	"${@:4}"
	fast_has_reached one "$1" "$2" "$3"
}

# COMMAND again and again until WHAT of INTERFACE grows.
until_more() { # INTERFACE WHAT COMMAND...
	counters one
	until_fast "$1" "$2" $(($(by "$1" "$2") + 1)) "${@:3}"
}

# The id of the link by which the process holds its filter on INTERFACE: ids of links are the whole
# host's, and numbers of interfaces those of a namespace.
link_id() { # PID NS INTERFACE
	local file number
	number=$(ip -n "$2" -o link show "$3" | cut -d : -f 1)
	for file in "/proc/$1/fdinfo"/*; do
		awk -v number="$number" '
			$1 == "link_type:" && $2 == "xdp" { is_xdp = 1 }
			$1 == "link_id:" { id = $2 }
			$1 == "ifindex:" && $2 == number { is_it = 1 }
			END { if (is_xdp && is_it) print id }' "$file"
	done 2>"$dir/fdinfo.log" | head -n 1
}

need_bpftool() {
	PATH=$PATH:/usr/sbin
	need_command bpftool
	bpftool version >"$dir/bpftool.log" 2>&1 || skip "bpftool does not run here"
}

# Takes the filter of `one` off INTERFACE as an administrator would who knows nothing of the server.
take_off() { # NS INTERFACE
	local id
	id=$(link_id "${pid_of[one]}" "$1" "$2")
	[[ $id ]] || fail "no link on $2 among the server's descriptors"
	must bpftool link detach id "$id" >"$dir/detach.log"
	! is_filtering "$1" "$2" || fail "still attached after the detach"
}

# The server says so of INTERFACE and has it off within a tick or two.
given_up() { # INTERFACE
	wait_until 5 grep -qsF -- "--xdp $1: no fast path any more" "$dir/one.err" ||
		fail "the log does not tell of $1: $(tail -n 3 "$dir/one.err")"
}

# ---- relays ----

# Clients, a relay with an interface to them, $near, and one to its targets, $far.
chain() {
	need_xdp
	need_command ethtool
	netns client relay upstream
	near=x${RUN:-$$}-$case_index-n far=x${RUN:-$$}-$case_index-f
	cable "$client" out "10.71.0.1/24 10.71.0.2/24 10.71.0.3/24 \
fd71::1/64 fd71::2/64 fd71::3/64" \
		"$relay" "$near" "10.71.0.9/24 fd71::9/64"
	cable "$relay" "$far" "10.72.0.9/24 fd72::9/64" "$upstream" in "10.72.0.1/24 fd72::1/64"
	real_end "$client" out
	real_end "$upstream" in
	server=$relay door=$near
	can_route
}

can_route() {
	setting "$relay" ipv4.conf.lo.forwarding 1
	setting "$relay" ipv6.conf.lo.forwarding 1
}

# The relay's next socket gets the Nth port.
source_port() { # N
	setting "$relay" ipv4.ip_local_port_range "$((40000 + $1)) $((40000 + $1))"
}

# The addresses of a family: of two clients, the relay, and its target.
family() { # 4|6
	if (($1 == 4)); then
		from=10.71.0.1 from2=10.71.0.2 from3=10.71.0.3
		at=10.71.0.9:7007 via=10.72.0.9 next=10.72.0.1 mtu=1472
	else
		from="[fd71::1]" from2="[fd71::2]" from3="[fd71::3]"
		at="[fd71::9]:7007" via="[fd72::9]" next=fd72::1 mtu=1452
	fi
	target=$next:7001
	(($1 == 4)) || target="[$next]:7001"
}

# A relay of one family, and what its target is.
forwarding() { # FAMILY echo|names|- [ARGUMENT...]
	chain
	family "$1"
	[[ $2 == - ]] || NS=$upstream peer_serve target "$2" "udp:$target"
	start_relay "${@:3}"
}

start_relay() { # ARGUMENT...
	source_port 1
	NS=$relay sluice_start one relay -l "udp:$at" -t "udp:$target" \
		--xdp "$near" --xdp "$far" "${fast[@]}" "$@"
	served_by one 1 "xdp:$near,$far"
}

# The first datagram of a client opens its session; from the next on it is forwarded.
open_session() { # FROM [N]: it is the Nth
	source_port "${2:-1}"
	ask "$1" "$at" send 100 recv 100
	reaches one fast_sessions "${2:-1}"
}

# Each datagram was forwarded or came up, once: SENT by the clients and ANSWERS to them. Of these no
# more than UP were relayed by the server, both ways together.
added_up() { # SENT ANSWERS UP
	local fast_in fast_back sum
	counters one
	fast_in=$(by "$near" forwarded) fast_back=$(by "$far" forwarded)
	sum=$((fast_in + fast_back + count[dgrams_in]))
	((sum == $1 + $2)) ||
		fail "$fast_in + $fast_back forwarded, ${count[dgrams_in]} received: not $1 + $2"
	((fast_in + $(by "$near" up) == $1)) ||
		fail "$fast_in forwarded and $(by "$near" up) up are not $1"
	((count[dgrams_in] == count[dgrams_out])) ||
		fail "${count[dgrams_in]} received, ${count[dgrams_out]} sent"
	((count[dgrams_in] <= $3)) || fail "${count[dgrams_in]} relayed by sockets, not $3"
}

# ---- echo ----

# A street whose clients are as other hosts are.
fast_street() {
	need_command ethtool
	street
	real_end "$client" out
}

serve() { # [ARGUMENT...]
	NS=$server sluice_start one echo -l udp:0.0.0.0:7007 -l "udp:[::]:7007" \
		--xdp "$door" "${fast[@]}" "$@"
}
