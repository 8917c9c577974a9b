# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154 # what bench/xdp and xdp_net.sh set
#
# Part of bench/xdp: what a packet costs.

cost_cells=() cost_devices=0

# Adds a veth to the namespace and names it in $device.
cost_device() {
	device=blx$((++cost_devices))
	ip -n "$net_cost" link add "blp$cost_devices" type veth peer name "$device"
}

# The program on $device, as id and name.
cost_program() {
	ip -n "$net_cost" -d link show "$device" |
		sed -n 's/.*prog\/xdp id \([0-9]*\) name \([^ ]*\).*/\1 \2/p'
}

# cost_peer FEATURES POLICY: xdp-filter with the client's address and port 7007 in its lists; sets
# id and program.
cost_peer() {
	cost_device && in_ns "$net_cost" xdp-filter load -f "$1" -p "$2" "$device" >&2 || return
	case $1 in *ipv4*) in_ns "$net_cost" xdp-filter ip 10.77.0.2 -m src >&2 || return ;; esac
	case $1 in
	*udp*) in_ns "$net_cost" xdp-filter port 7007 -m dst -p udp >&2 || return ;;
	esac
	read -r id program < <(cost_program)
}

# cost_peer_rows ROW FEATURES POLICY CELL...: without libxdp's dispatcher, which would make it
# dearer. The pins go, so that the next one has maps of its own.
cost_peer_rows() {
	local id program cell

	if LIBXDP_SKIP_DISPATCHER=1 cost_peer "$2" "$3"; then
		record program "$1" "$program" "xdp-filter load -f ${2//,/;} -p $3"
		for cell in "${@:4}"; do
			cost_cells+=("${cell/ID/$id}")
		done
	else
		fail "xdp-filter load -f $2 -p $3"
	fi
	rm -rf /sys/fs/bpf/xdp-filter
}

cost_peers() {
	local id program

	if ! command -v xdp-filter >/dev/null; then
		missing "xdpfilter_udp_drop xdpfilter_udp_pass xdpfilter_ipv4 xdpfilter_all" \
			"xdp-filter is not installed"
		return
	fi
	cost_peer_rows xdpfilter_udp udp allow xdpfilter_udp_drop,ID,7007,drop \
		xdpfilter_udp_pass,ID,7008,pass
	cost_peer_rows xdpfilter_ipv4 ipv4 deny xdpfilter_ipv4,ID,7007,pass
	cost_peer_rows xdpfilter_all ipv4,udp deny xdpfilter_all,ID,7007,pass
	if ! cost_peer udp allow 2>"$scratch/dispatcher"; then
		missing xdpfilter_dispatcher "$(tail -n 1 "$scratch/dispatcher")"
	elif [ "$program" = xdp_dispatcher ]; then
		cost_cells+=("xdpfilter_dispatcher,$id,7007,drop")
	else
		missing xdpfilter_dispatcher "libxdp attaches $program itself on this kernel"
	fi
}

# cost_sluice ROWS RULE...: attached natively; sets id.
cost_sluice() {
	local program

	printf '%s\n' "${@:2}" >"$scratch/rules"
	cost_device && in_ns "$net_cost" "$bin/sluice" xdp attach "$device" --mode native \
		--rules "$scratch/rules" >"$scratch/attach" 2>&1 &&
		read -r id program < <(cost_program) && return
	missing "$1" "$(tail -n 1 "$scratch/attach")"
	failed=1
	return 1
}

cost_own() {
	local id

	cost_sluice "sluice_port_drop sluice_port_pass" 'drop to-port 7007' &&
		cost_cells+=("sluice_port_drop,$id,7007,drop" "sluice_port_pass,$id,7008,pass"
			"restored_port_drop,$id,7007,drop,restored")
	cost_sluice sluice_limit 'default drop' 'pass from 10.0.0.0/8 to-port 7007' \
		'limit to-port 7007 rate 1000000000 per source' &&
		cost_cells+=("sluice_limit,$id,7007,pass")
}

# net_program DEV: the id of the program on an interface of the server's.
net_program() {
	ip -n "$net_server" -d link show "$1" | sed -n 's/.*prog\/xdp id \([0-9]*\) .*/\1/p'
}

# Real servers, and a session that a client has opened. The echo has an interface of its own, with
# the same address as that of the relay, so that the same frame is for both.
cost_fast_start() {
	local enter="nsenter --net=/run/netns/$net_server" relay_port

	ip -n "$net_server" link add "$net_edev" address "$net_smac" type veth \
		peer name "peer$net_edev" && ip -n "$net_server" link set "$net_edev" up &&
		server_start "$enter $bin/sluice relay -l udp:10.77.0.1:0 -t udp:10.78.0.2:7008 \
			-w 1 --xdp $net_sdev --xdp $net_rdev --fast-path on" "$scratch/fast" ||
		return
	relay_port=$server_port
	server_start "$enter $bin/sluice echo -l udp:10.77.0.1:0 -w 1 --xdp $net_edev \
		--fast-path on" "$scratch/fast" || return
	in_ns "$net_client" "$bin/flood" ask --to "10.77.0.1:$relay_port" --from-port 40000 \
		--rate 20 --seconds 0.1 >"$scratch/ask" || return
	cost_cells+=("restored_echo,$(net_program "$net_edev"),$server_port,sent,restored"
		"restored_forward,$(net_program "$net_sdev"),$relay_port,sent,restored")
}

cost_fast() {
	cost_fast_start && return
	missing "fast_echo fast_forward" "$(tail -n 1 "$scratch/fast")"
	failed=1
}

cost() {
	local n=${rounds:-15} round said='' fd device line

	net_relay_up || die "no network namespaces"
	net_add "$net_cost" || die "no network namespace"
	cost_peers
	cost_own
	cost_fast
	exec {fd}< <(exec "${guard[@]}" nsenter --net="/run/netns/$net_server" "$bin/flood" cost \
		--cpu "$flood_cpu" --rounds "$n" --repeat "$repeat" --dev "$net_sdev" \
		--to-mac "$net_smac" --from 10.77.0.2 --from-port 40000 --to 10.77.0.1 \
		"${cost_cells[@]}")
	children+=($!)
	while read -r -u "$fd" line; do
		record cost "$line"
		round=${line%%,*}
		[ "$round" = "$said" ] || say "round $round/$n cost"
		said=$round
	done
	exec {fd}<&-
	await || fail "flood cost"
	servers_stop
	for ((; cost_devices > 0; cost_devices--)); do
		in_ns "$net_cost" "$bin/sluice" xdp detach "blx$cost_devices" >/dev/null 2>&1
	done
	net_delete
}
