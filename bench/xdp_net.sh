# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154,SC2034 # what bench/xdp sets
#
# The network of bench/xdp: two namespaces with a veth between them, the filters on its server
# side, and counters that none of the filters keeps; for a relay, an upstream behind the server.
#
#	sluice-bench-client  10.77.0.2  --- veth ---  10.77.0.1  sluice-bench-server
#	sluice-bench-server  10.78.0.1  --- veth ---  10.78.0.2  sluice-bench-upstream
#
# All of it is in a mount namespace of its own, with a BPF file system and a /run/netns that end
# with it: what is pinned or named there cannot outlive the script, whatever kills it.

net_client=sluice-bench-client net_server=sluice-bench-server net_cost=sluice-bench-cost
net_upstream=sluice-bench-upstream
# threads of the kernel are found by these names
net_cdev=blc$$ net_sdev=bls$$ net_rdev=blr$$ net_udev=blu$$ net_edev=ble$$
net_cmac=02:00:00:00:00:01 net_smac=02:00:00:00:00:02
net_rmac=02:00:00:00:00:03 net_umac=02:00:00:00:00:04
net_made_dir='' net_thread=''

in_ns() {
	nsenter --net="/run/netns/$1" "${@:2}"
}

# To be called once, inside a new mount namespace.
net_private() {
	[ -d /run/netns ] || { mkdir /run/netns && net_made_dir=1; } || return
	mount -t tmpfs none /run/netns && mount -t bpf none /sys/fs/bpf
}

net_delete() {
	local name

	for name in "$net_client" "$net_server" "$net_upstream" "$net_cost"; do
		[ ! -e "/run/netns/$name" ] || ip netns del "$name"
	done
}

net_end() {
	net_delete
	umount /run/netns /sys/fs/bpf 2>/dev/null
	[ -z "$net_made_dir" ] || rmdir /run/netns 2>/dev/null
}

net_add() {
	ip netns add "$1" || return
	in_ns "$1" sh -c 'cd /proc/sys/net && echo 1 >ipv6/conf/all/disable_ipv6
		echo 1 >ipv6/conf/default/disable_ipv6
		echo 0 >ipv4/conf/all/rp_filter; echo 0 >ipv4/conf/default/rp_filter' 2>/dev/null
	ip -n "$1" link set lo up
}

# One end of the veth: NS DEV ADDRESS NEIGHBOUR ITS-MAC. GRO makes it able to receive XDP frames,
# and the other end to send them, but only when switched on while the link is up. Whole checksums
# are what a network would carry, and nothing has to be resolved under a flood.
net_end_up() {
	ip -n "$1" addr add "$3/24" dev "$2" &&
		ip -n "$1" link set "$2" up &&
		in_ns "$1" ethtool -K "$2" gro on tx off >/dev/null &&
		ip -n "$1" neigh replace "$4" lladdr "$5" dev "$2" nud permanent
}

# net_up QUEUES. The server's way to the flood's sources goes back to the client, where it ends.
net_up() {
	local queues="numtxqueues $1 numrxqueues $1"

	net_delete
	net_thread=''
	# shellcheck disable=SC2086 # words
	net_add "$net_client" && net_add "$net_server" &&
		ip -n "$net_client" link add "$net_cdev" address "$net_cmac" $queues type veth \
			peer name "$net_sdev" address "$net_smac" $queues netns "$net_server" &&
		net_end_up "$net_client" "$net_cdev" 10.77.0.2 10.77.0.1 "$net_smac" &&
		net_end_up "$net_server" "$net_sdev" 10.77.0.1 10.77.0.2 "$net_cmac" &&
		ip -n "$net_server" route add default via 10.77.0.2
}

# net_relay_up: and an upstream. The fast path of a relay looks routes up as from its own sockets,
# which the kernel answers where it forwards for the loopback interface.
net_relay_up() {
	net_up 1 && net_add "$net_upstream" &&
		ip -n "$net_server" link add "$net_rdev" address "$net_rmac" type veth \
			peer name "$net_udev" address "$net_umac" netns "$net_upstream" &&
		net_end_up "$net_server" "$net_rdev" 10.78.0.1 10.78.0.2 "$net_umac" &&
		net_end_up "$net_upstream" "$net_udev" 10.78.0.2 10.78.0.1 "$net_rmac" &&
		in_ns "$net_server" sh -c 'echo 1 >/proc/sys/net/ipv4/conf/lo/forwarding'
}

# net_threads NS DEV CPU COMMAND...: all that DEV receives is worked on by a thread on that core,
# $net_thread, whose number is put behind COMMAND.
net_threads() {
	local comm

	ip netns exec "$1" sh -c "echo 1 >/sys/class/net/$2/threaded" || return
	net_thread=''
	# shellcheck disable=SC2013 # paths without blanks
	for comm in $(grep -ls "^napi/$2-" /proc/[0-9]*/comm); do
		comm=${comm#/proc/}
		net_thread=${comm%/comm}
		taskset -p -c "$3" "$net_thread" >/dev/null || return
		"${@:4}" "$net_thread" >/dev/null || return
	done
	[ -n "$net_thread" ] || echo "bench/xdp: no NAPI thread of $2 found" >&2
	[ -n "$net_thread" ]
}

# net_threadless NS DEV: what DEV receives is worked on where it is sent, at once.
net_threadless() {
	ip netns exec "$1" sh -c "echo 0 >/sys/class/net/$2/threaded"
}

# net_pin CPU: the server's side of the veth; before programs, as the interrupts would be that the
# thread stands for.
net_pin() {
	net_threads "$net_server" "$net_sdev" "$1" renice -n -20 -p
}

# Prints seconds, frames offered to the veth, taken in by the server's side on each of two queues,
# packets that came to IP there, packets that nftables dropped, and the nanoseconds that the
# receiving thread has run.
net_sample() {
	local now=$EPOCHREALTIME ran=0

	[ -z "$net_thread" ] || read -r ran _ <"/proc/$net_thread/schedstat"

	awk -v now="${now/,/.}" -v ran="$ran" 'FNR == 1 { file++ }
		file == 1 && /tx_queue_[0-9]+_xdp_xmit/ { offered += $2 }
		file == 2 && /rx_queue_0_xdp_packets/ { q0 = $2 }
		file == 2 && /rx_queue_1_xdp_packets/ { q1 = $2 }
		file == 2 && $1 == "Ip:" && $4 ~ /^[0-9]+$/ { ip = $4 }
		file == 2 && /counter packets .* drop/ {
			sub(/.*counter packets /, ""); nft += $1
		}
		END { printf "%s %.0f %.0f %.0f %.0f %.0f %.0f\n", now, offered, q0, q1,
			ip, nft, ran }' \
		<(in_ns "$net_client" ethtool -S "$net_cdev") \
		<(in_ns "$net_server" sh -c "ethtool -S $net_sdev; cat /proc/net/snmp
			[ -z '$1' ] || nft list table $1")
}

# --- filters ---------------------------------------------------------------------------------

# The client may pass and the flood may not, in the words of both.
filter_sluice_rules() {
	cat <<-'END'
	default pass
	pass from 10.77.0.2 to-port 7007
	drop to-port 7007
	END
}

# filter_nft_rules FAMILY HOOK
filter_nft_rules() {
	cat <<-END
	table $1 bench {
		chain only {
			type filter hook $2 policy accept;
			ip saddr 10.77.0.2 udp dport 7007 counter accept
			udp dport 7007 counter drop
		}
	}
	END
}

filter_sluice_on() {
	in_ns "$net_server" "$bin/sluice" xdp attach "$net_sdev" --rules "$1" --mode "$2" >/dev/null
}

filter_nft_on() {
	filter_nft_rules "$@" | in_ns "$net_server" nft -f -
}

# The table that a filter's drops are counted in, if it is one of nftables.
filter_table() {
	case $1 in
	nft_ingress) echo "netdev bench" ;;
	nft_*) echo "ip bench" ;;
	esac
}

filter_on() {
	case $1 in
	none) ;;
	sluice_*)
		filter_sluice_rules >"$scratch/rules"
		filter_sluice_on "$scratch/rules" "${1#sluice_}"
		;;
	nft_ingress) filter_nft_on netdev "ingress device \"$net_sdev\" priority 0;" ;;
	nft_prerouting) filter_nft_on ip "prerouting priority raw;" ;;
	nft_input) filter_nft_on ip "input priority filter;" ;;
	esac
}

filter_off() {
	case $1 in
	sluice_*) in_ns "$net_server" "$bin/sluice" xdp detach "$net_sdev" >/dev/null ;;
	nft_*)
		# shellcheck disable=SC2046 # family and name
		in_ns "$net_server" nft delete table $(filter_table "$1")
		;;
	esac
}
