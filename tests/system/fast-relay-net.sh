#!/bin/bash
# SPDX-License-Identifier: MIT
#
# UDP relay in the driver, and the network around it: next hops, MTUs, interfaces that have the
# filter, lose it or never had it. What the driver does not forward, the sockets do.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/system/fast-lib.sh
. "$(dirname "$0")/fast-lib.sh"

# shellcheck disable=SC2154 # family and chain set what is not set here

# A case for each family, which is its first argument.
families() { # NAME FUNCTION [ARGUMENT...]
	once "$1, IPv4" "$2" 4 "${@:3}"
	once "$1, IPv6" "$2" 6 "${@:3}"
}

ask_one() {
	ask "$from:5555" "$at" send 100 recv 100
}

# ---- next hops ----

# A next hop that the kernel has forgotten is asked for by the sockets' datagram.
neighbour_forgotten() { # FAMILY
	local host
	forwarding "$1" echo
	host=${from//[\[\]]/}
	open_session "$from:5555"
	ask "$from:5555" "$at" many 50 100
	wait_until 15 forgets "$far" "$next" "$near" || fail "the target was not missed"
	wait_until 15 forgets "$near" "$host" "$far" || fail "the client was not missed"
	until_more "$near" forwarded ask_one
	until_more "$far" forwarded ask_one
	counted one sessions_opened=1
	peer_kill target
}

# Deletes a neighbour and asks: whether datagrams have come up for it. It is learned anew whenever
# it asks for this host by itself.
forgets() { # INTERFACE ADDRESS WHERE-THEY-COME-IN
	ip -n "$relay" neigh del "$2" dev "$1" 2>"$dir/neigh.log"
	ask_one
	fast_has_reached one "$3" up-neighbour 1
}

# The kernel's table is what counts: a wrong entry, then the right one.
neighbour_wrong() { # FAMILY
	local right
	forwarding "$1" echo
	open_session "$from:5555"
	right=$(mac_of "$upstream" in)
	must ip -n "$relay" neigh replace "$next" lladdr 02:00:00:00:00:99 dev "$far" nud permanent
	ask "$from:5555" "$at" send 100 send 100 is-silent 50
	must ip -n "$relay" neigh replace "$next" lladdr "$right" dev "$far" nud permanent
	ask_once "$from:5555" "$at" many 50 100
	counters one
	(($(by "$near" forwarded) == 52)) || fail "$(by "$near" forwarded) of 52 forwarded"
	# The target's host gets another card.
	must ip -n "$upstream" link set in address 02:00:00:00:00:98
	must ip -n "$relay" neigh replace "$next" lladdr 02:00:00:00:00:98 dev "$far" nud permanent
	ask_once "$from:5555" "$at" many 50 100
	counted one "xdp_${near}_forwarded=102" sessions_opened=1
	peer_kill target
}

# Nobody tells the relay that the target's host has another card. It finds out as it does for any
# other socket, because a datagram goes up now and then.
neighbour_moves() { # FAMILY
	local i
	chain
	for i in ipv4 ipv6; do
		setting "$relay" "$i.neigh.$far.base_reachable_time_ms" 1000
		setting "$relay" "$i.neigh.$far.delay_first_probe_time" 1
	done
	family "$1"
	NS=$upstream peer_start target -T 80 echo "udp:$target"
	peer_says target ready
	start_relay
	open_session "$from:5555"
	wait_until 40 try_fast "$near" up-refresh 1 ask_one || fail "none comes up now and then"
	must ip -n "$upstream" link set in address 02:00:00:00:00:97
	wait_until 50 is_back || fail "nothing gets through after 50 s"
	until_more "$near" forwarded ask_one
	counted one sessions_opened=1
	peer_kill target
}

is_back() {
	NS=$client peer -T 1 -f "udp:$from:5555" datagram "udp:$at" send 100 recv 100 \
		2>"$dir/back.log"
}

# Another host has the target's address too, and the route changes to it and back.
other_route() { # FAMILY
	local third third_has gate=10.74.0.1 back=10.74.0.9 bits=32
	chain
	family "$1"
	(($1 == 4)) || gate=fd74::1 back=fd74::9 bits=128
	third=${near%n}t
	netns second
	# shellcheck disable=SC2154 # netns has set it
	cable "$relay" "$third" "10.74.0.9/24 fd74::9/64" "$second" in "10.74.0.1/24 fd74::1/64"
	real_end "$second" in
	# shellcheck disable=SC2046 # words
	must ip -n "$second" addr add "$next/$bits" dev lo $(no_dad "$next")
	must ip -n "$second" route add default via "$back" dev in
	NS=$upstream peer_serve target echo "udp:$target"
	NS=$second peer_serve other echo "udp:$target"
	source_port 1
	NS=$relay sluice_start one relay -l "udp:$at" -t "udp:$target" \
		--xdp "$near" --xdp "$far" --xdp "$third" "${fast[@]}"
	open_session "$from:5555"
	ask_once "$from:5555" "$at" many 50 100
	counted one "xdp_${near}_forwarded=50" "xdp_${third}_forwarded=0"
	must ip -n "$relay" route add "$next/$bits" via "$gate" dev "$third"
	# Its next hop is asked for first.
	until_more "$third" forwarded ask_one
	ask_once "$from:5555" "$at" many 50 100
	counters one
	(($(by "$third" forwarded) >= 50)) || fail "$(by "$third" forwarded) came back there"
	third_has=$(by "$third" forwarded)
	must ip -n "$relay" route del "$next/$bits" via "$gate" dev "$third"
	ask_once "$from:5555" "$at" many 50 100
	counted one "xdp_${third}_forwarded=$third_has" sessions_opened=1
	must ip -n "$relay" route add blackhole "$next/$bits"
	ask "$from:5555" "$at" send 100 is-silent 50
	counters one
	(($(by "$near" up-route) == 1)) || fail "$(by "$near" up-route) up for the route"
	peer_kill target
	peer_kill other
}

# ---- sizes ----

# An upstream way that takes less: what is too large for it goes in pieces, by the sockets.
small_mtu() { # FAMILY target|client|route
	forwarding "$1" echo
	case $2 in
	target)
		must ip -n "$relay" link set "$far" mtu 1400
		must ip -n "$upstream" link set in mtu 1400
		;;
	client)
		must ip -n "$relay" link set "$near" mtu 1400
		must ip -n "$client" link set out mtu 1400
		;;
	route)
		# What is not locked is for the host's own datagrams alone, the kernel says.
		must ip -n "$relay" route add "$next" dev "$far" mtu lock 1400
		;;
	esac
	open_session "$from:5555"
	ask_once "$from:5555" "$at" many 50 100 many 50 $((mtu - 100))
	counters one
	(($(by "$near" forwarded) == 100 && $(by "$far" forwarded) >= 100)) ||
		fail "forwarded $(by "$near" forwarded) and $(by "$far" forwarded)"
	# shellcheck disable=SC2046 # words
	ask_once "$from:5555" "$at" $(in_turn $((mtu - 99)) $((mtu - 50)) "$mtu") many 20 "$mtu" \
		many 20 100
	counters one
	if [[ $2 == client ]]; then
		# Those of the client come in pieces.
		(($(by "$near" up-fragment) == 23)) || fail "$(by "$near" up-fragment) fragments"
		(($(by "$far" up-mtu) == 23)) || fail "$(by "$far" up-mtu) up for their size"
	else
		(($(by "$near" up-mtu) == 23)) || fail "$(by "$near" up-mtu) up for their size"
	fi
	(($(by "$near" forwarded) == 120)) || fail "$(by "$near" forwarded) forwarded"
	counted one sessions_opened=1
	peer_kill target
}

# ---- interfaces ----

# Clients and targets on the same cable.
one_interface() { # FAMILY
	chain
	family "$1"
	target=${from3}:7001
	NS=$client peer_serve target echo "udp:$target"
	source_port 1
	NS=$relay sluice_start one relay -l "udp:$at" -t "udp:$target" --xdp "$near" "${fast[@]}"
	served_by one 1 "xdp:$near"
	open_session "$from:5555"
	# shellcheck disable=SC2046 # words
	ask_once "$from:5555" "$at" many 500 100 many 100 "$mtu" $(in_turn 0 1 2 3)
	counters one
	(($(by "$near" forwarded) + count[dgrams_in] == 1210 && count[dgrams_in] <= 4)) ||
		fail "$(by "$near" forwarded) forwarded, ${count[dgrams_in]} received"
	peer_kill target
}

# The way to the target leads out of an interface that has no filter.
no_egress() { # FAMILY
	chain
	family "$1"
	NS=$upstream peer_serve target echo "udp:$target"
	NS=$relay sluice_start one relay -l "udp:$at" -t "udp:$target" --xdp "$near" "${fast[@]}"
	served_by one 1 "xdp:$near"
	open_session "$from:5555"
	ask_once "$from:5555" "$at" many 50 100 many 20 5000
	counted one "xdp_${near}_up-egress=50" "xdp_${near}_forwarded=0" dgrams_in=142
	peer_kill target
}

# A target on the relay's own host.
own_host() { # FAMILY loopback|address
	local loop=127.0.0.1
	chain
	family "$1"
	(($1 == 4)) || loop="[::1]"
	target=$loop:7001
	[[ $2 == loopback ]] || target=$via:7001
	NS=$relay peer_serve target echo "udp:$target"
	start_relay
	ask "$from:5555" "$at" send 100 recv 100
	ask_once "$from:5555" "$at" many 50 100 many 20 5000
	counted one dgrams_in=142 dgrams_out=142 "xdp_${near}_forwarded=0" sessions_opened=1
	peer_kill target
}

down_and_up() { # FAMILY near|far
	local device
	forwarding "$1" echo
	device=$near
	[[ $2 == near ]] || device=$far
	open_session "$from:5555"
	ask "$from:5555" "$at" many 50 100
	must ip -n "$relay" link set "$device" down
	must ip -n "$relay" link set "$device" up
	# These go with the interface.
	if [[ $2 == near ]]; then
		must ip -n "$relay" addr add fd71::9/64 dev "$near" nodad
	else
		must ip -n "$relay" addr add fd72::9/64 dev "$far" nodad
	fi
	until_more "$near" forwarded ask_one
	until_more "$far" forwarded ask_one
	is_filtering "$relay" "$device" || fail "nothing is attached any more"
	counted one sessions_opened=1
	peer_kill target
}

far_gone() {
	forwarding 4 echo
	open_session "$from:5555"
	ask "$from:5555" "$at" many 50 100
	must ip -n "$relay" link delete "$far"
	given_up "$far"
	ask "$from:5555" "$at" send 100 is-silent 50
	peer_kill target
	# The way to a new target leads somewhere else, and the session with it.
	netns other
	# shellcheck disable=SC2154 # netns has set it
	cable "$relay" "${far%f}g" "10.72.0.9/24" "$other" in 10.72.0.1/24
	NS=$other peer_serve again echo "udp:$target"
	until_more "$near" up-egress ask_one
	counted one sessions_opened=1
	peer_kill again
}

# ---- the filters ----

# Asks all the time, one after the other, and stops at the first that is lost.
begin_asking() {
	# shellcheck disable=SC2046 # words
	NS=$client peer_start asker -f "udp:$from:5555" datagram "udp:$at" $(paced 200 1) \
		say asking $(paced 1500 1) say asked
	peer_says asker asking
}

# An administrator takes filters off while they are busy. With GRO, the kernel keeps the queues of
# the veths as they are; what is in them would be lost otherwise, as at any change of theirs.
detached() { # FAMILY near|far|both
	local device devices
	need_bpftool
	forwarding "$1" echo
	devices=("$near" "$far")
	case $2 in
	near) devices=("$near") ;;
	far) devices=("$far") ;;
	esac
	for device in "$near" "$far"; do
		must ip netns exec "$relay" ethtool -K "$device" gro on
	done
	open_session "$from:5555"
	begin_asking
	for device in "${devices[@]}"; do
		take_off "$relay" "$device"
	done
	! grep -q asked "$dir/asker.out" || fail "it was over before"
	for device in "${devices[@]}"; do
		given_up "$device"
	done
	peer_ends asker
	counters one
	((count[dgrams_in] == count[dgrams_out] && count[dgrams_in] > 100)) ||
		fail "the sockets have received ${count[dgrams_in]} and sent ${count[dgrams_out]}"
	(($(by "$near" forwarded) + $(by "$far" forwarded) + count[dgrams_in] == 3402)) ||
		fail "not each of 1701 and their answers was relayed once"
	counted one sessions_opened=1
	peer_kill target
}

# Rules take each other's place, and datagrams are forwarded all the while.
new_rules() { # FAMILY
	local i=0
	forwarding "$1" echo
	open_session "$from:5555"
	begin_asking
	until grep -q asked "$dir/asker.out" || is_gone "${pid_of[asker]}"; do
		rules "drop from 10.9.0.$((++i % 256))" "drop length 2000-$((2000 + i))"
		door=$near control rules "$dir/rules"
		door=$far control rules "$dir/rules"
	done
	peer_ends asker
	((i >= 3)) || fail "only $i sets of rules took each other's place"
	added_up 1701 1701 4
	peer_kill target
}

# ---- rates ----

# Many at a fixed rate: those that are in a queue of a veth when its filter goes away are lost, as
# when it came, which is none or one unless a CPU is late. Were it for the server to notice, it
# would be the 200 of a tick of 100 ms.
at_a_rate() { # FAMILY near|far|both|none
	local device devices
	[[ -x $build/sluice-bench ]] || skip "needs $build/sluice-bench"
	[[ $2 == none ]] || need_bpftool
	forwarding "$1" -
	NS=$upstream peer_serve target -B 4000000 echo "udp:$target"
	setting "$relay" ipv4.ip_local_port_range "40001 49999"
	devices=("$near" "$far")
	case $2 in
	near) devices=("$near") ;;
	far) devices=("$far") ;;
	none) devices=() ;;
	esac
	ip netns exec "$client" "$build/sluice-bench" udp "$at" -c 8 -s 200 --rate 2K -t 3s \
		-w 200ms --json - --quiet \
		--source "${from//[\[\]]/}" >"$dir/bench.out" 2>"$dir/bench.err" &
	pid_of[bench]=$!
	until_fast "$near" forwarded 1000 true
	for device in "${devices[@]}"; do
		take_off "$relay" "$device"
		given_up "$device"
	done
	ends bench 15
	lost=$(sed -n 's/.*"lost": *\([0-9]*\).*/\1/p' "$dir/bench.out" | head -n 1)
	((${lost:-1000} <= 50 * ${#devices[@]})) || fail "${lost:-?} datagrams were lost"
	counters one
	(($(by "$near" forwarded) >= 1000)) || fail "$(by "$near" forwarded) forwarded"
	peer_kill target
}

last_number() { # NAME: in what iperf3 has reported
	sed -n "s/.*\"$1\":[[:space:]]*\(-\{0,1\}[0-9]*\).*/\1/p" "$dir/iperf3.json" | tail -n 1
}

# iperf3 talks over TCP of the same port beside its datagrams.
iperf() { # FAMILY [-R]
	local lost packets address
	need_command iperf3
	chain
	family "$1"
	target=${target%7001}5201
	ip netns exec "$upstream" iperf3 -s -p 5201 --forceflush >"$dir/server.out" 2>&1 &
	pid_of[server]=$!
	wait_until 5 grep -qs listening "$dir/server.out" || fail "iperf3 does not listen"
	NS=$relay sluice_start one relay -l "udp:$at" -t "udp:$target" -l "tcp:$at" \
		-t "tcp:$target" --xdp "$near" --xdp "$far" "${fast[@]}"
	address=${at%:*}
	address=${address//[\[\]]/}
	must ip netns exec "$client" iperf3 -c "$address" -p 7007 -u -b 50M -t 1 -l 1400 --json \
		"${@:2}" >"$dir/iperf3.json"
	lost=$(last_number lost_packets) packets=$(last_number packets)
	((packets > 1000)) || fail "only $packets packets"
	[[ $lost == 0 ]] || fail "${lost:-?} of $packets packets were lost"
	counters one
	(($(by "$near" forwarded) + $(by "$far" forwarded) >= packets - 10)) ||
		fail "$(by "$near" forwarded) and $(by "$far" forwarded) of $packets forwarded"
	((count[dgrams_in] < 20)) || fail "${count[dgrams_in]} took the sockets"
	peer_kill server
}

families "a forgotten neighbour" neighbour_forgotten
families "a wrong neighbour" neighbour_wrong
families "another route" other_route
families "small MTU, target" small_mtu target
families "small MTU, client" small_mtu client
families "small MTU, route" small_mtu route
families "one interface" one_interface
families "an interface without the filter" no_egress
families "target on loopback" own_host loopback
families "target on an address of the relay" own_host address
families "interface of the clients down and up" down_and_up near
families "interface of the targets down and up" down_and_up far
once "interface of the targets goes" far_gone
families "filter of the clients' interface taken off" detached near
families "filter of the targets' interface taken off" detached far
families "both filters taken off" detached both
families "other rules" new_rules
families "a rate" at_a_rate none
families "a rate, filter of the clients' interface taken off" at_a_rate near
families "a rate, filter of the targets' interface taken off" at_a_rate far
families "a rate, both filters taken off" at_a_rate both
families "iperf3" iperf
families "iperf3 from the target" iperf -R
limit=90
families "a neighbour moves" neighbour_moves
main "$@"
