#!/bin/bash
# SPDX-License-Identifier: MIT
#
# UDP echo in the driver while things change: addresses, rules, the interface, the filter itself.
# Whatever happens, the sockets answer what the driver does not.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/system/fast-lib.sh
. "$(dirname "$0")/fast-lib.sh"

# shellcheck disable=SC2154 # street sets client, server and door
v4=10.77.0.9:7007 v6="[fd77::9]:7007"
from4=10.77.0.1:5555 from6="[fd77::1]:5555"

# Asks all the time, one after the other, and stops at the first that is lost.
begin_asking() {
	# shellcheck disable=SC2046 # words
	NS=$client peer_start asker4 -f udp:10.77.0.1:6666 datagram "udp:$v4" say asking \
		$(paced 1500 1) say asked
	# shellcheck disable=SC2046 # words
	NS=$client peer_start asker6 -f "udp:[fd77::1]:6666" datagram "udp:$v6" say asking \
		$(paced 1500 1) say asked
	peer_says asker4 asking
	peer_says asker6 asking
}

still_asking() {
	! grep -q asked "$dir/asker4.out" || fail "it was over before"
	! grep -q asked "$dir/asker6.out" || fail "it was over before, over IPv6"
}

# All 3000 have been answered, by whichever way.
end_asking() {
	peer_ends asker4
	peer_ends asker6
	counters one
	(($(by "$door" echoed) + count[dgrams_in] == 3000 &&
		count[dgrams_out] == count[dgrams_in])) ||
		fail "$(by "$door" echoed) echoed, ${count[dgrams_in]} in, ${count[dgrams_out]} out"
}

# ---- addresses ----

# One that was not there when the server started, and is taken away again. Its neighbours know it
# all the while.
address_comes_and_goes() { # FAMILY
	local from=$from4 at=10.77.0.20
	fast_street
	serve
	(($1 == 4)) || from=$from6 at=fd77::20
	must ip -n "$client" neigh replace "$at" lladdr "$(mac_of "$server" "$door")" dev out \
		nud permanent
	# shellcheck disable=SC2046 # words
	must ip -n "$server" addr add "$at/24" dev "$door" $(no_dad "$at")
	to=$at:7007
	(($1 == 4)) || to="[$at]:7007"
	until_fast "$door" echoed 5 ask "$from" "$to" send 100 recv 100 from "udp:$to"
	must ip -n "$server" addr del "$at/24" dev "$door"
	until_more "$door" up-address ask "$from" "$to" send 100
	counters one
	ask "$from" "$to" send 100 is-silent 100
	counted one "xdp_${door}_echoed=$(by "$door" echoed)" dgrams_in="${count[dgrams_in]}"
}

new_mac() {
	fast_street
	serve
	ask "$from4" "$v4" many 20 100
	ask "$from6" "$v6" many 20 100
	counted one "xdp_${door}_echoed=40" dgrams_in=0
	must ip -n "$server" link set "$door" address 02:00:00:00:00:21
	must ip -n "$client" neigh flush all
	until_more "$door" echoed ask "$from4" "$v4" send 100 recv 100
	until_more "$door" echoed ask "$from6" "$v6" send 100 recv 100
	# What still went to the old one is nobody's.
	NS=$client must peer tagged out 02:00:00:00:00:20 0 "udp:$from4" "udp:$v4" 100
	until_fast "$door" up-address 1 true
}

# ---- the interface ----

down_and_up() {
	fast_street
	serve
	ask "$from4" "$v4" many 20 100
	must ip -n "$server" link set "$door" down
	must ip -n "$server" link set "$door" up
	must ip -n "$server" addr add fd77::9/64 dev "$door" nodad
	until_more "$door" echoed ask "$from4" "$v4" send 100 recv 100
	until_more "$door" echoed ask "$from6" "$v6" send 100 recv 100
	is_filtering "$server" "$door" || fail "nothing is attached any more"
	# The other end, too.
	must ip -n "$client" link set out down
	must ip -n "$client" link set out up
	must ip -n "$client" addr add fd77::1/64 dev out nodad
	until_more "$door" echoed ask "$from4" "$v4" send 100 recv 100
	until_more "$door" echoed ask "$from6" "$v6" send 100 recv 100
	! grep -q '^warning' "$dir/one.err" || fail "it warns: $(<"$dir/one.err")"
}

# The interface goes; the server stays, and has another one.
door_gone() {
	fast_street
	second_door
	real_end "$client" out2
	serve --xdp "$second"
	ask "$from4" "$v4" many 20 100
	must ip -n "$server" link delete "$door"
	given_up "$door"
	ask 10.78.0.1:5555 10.78.0.9:7007 many 100 100
	counted one "xdp_${door}_echoed=20" "xdp_${second}_echoed=100" dgrams_in=0
	sluice_stop one
	printed "fast path $door: 20 datagrams echoed" one.out
}

# ---- the filter ----

# Rules take each other's place, and datagrams are answered all the while.
new_rules() {
	local i=0
	fast_street
	serve
	begin_asking
	until grep -q asked "$dir/asker4.out" || is_gone "${pid_of[asker4]}"; do
		rules "drop from 10.9.0.$((++i % 256))" "drop length 2000-$((2000 + i))"
		control rules "$dir/rules"
	done
	end_asking
	((i >= 3)) || fail "only $i sets of rules took each other's place"
	counted one "xdp_${door}_echoed=3000" dgrams_in=0
	rules "drop from 10.77.0.1"
	control rules "$dir/rules"
	ask "$from4" "$v4" send 100 is-silent 50
	ask 10.77.0.2:5555 "$v4" many 20 100
	control del drop from 10.77.0.1
	ask "$from4" "$v4" many 20 100
	counted one "xdp_${door}_echoed=3040" dgrams_in=0
}

# An administrator takes the filter off while it is busy. With GRO, the kernel keeps the queues of
# this veth as they are; what is in them would be lost otherwise, as at any change of theirs.
detached() {
	need_bpftool
	fast_street
	must ip netns exec "$server" ethtool -K "$door" gro on
	serve
	begin_asking
	until_fast "$door" echoed 200 true
	take_off "$server" "$door"
	still_asking
	given_up "$door"
	end_asking
	((count[dgrams_in] > 0)) || fail "the sockets have taken nothing over"
	(($(logged one "no fast path any more") == 1)) || fail "it says so again and again"
	sluice_stop one
	printed "fast path $door: [0-9]+ datagrams echoed.*" one.out
}

# One of two interfaces goes on.
one_detached() {
	need_bpftool
	fast_street
	second_door
	real_end "$client" out2
	serve --xdp "$second"
	ask "$from4" "$v4" many 20 100
	take_off "$server" "$door"
	given_up "$door"
	ask "$from4" "$v4" many 20 100
	ask 10.78.0.1:5555 10.78.0.9:7007 many 50 100
	counted one "xdp_${door}_echoed=20" "xdp_${second}_echoed=50" dgrams_in=20
}

# ---- the server ----

killed() {
	fast_street
	serve
	ask "$from4" "$v4" many 20 100
	sluice_kill one
	is_off
	ask "$from4" "$v4" send 100 is-silent 50
	NS=$server xdp status "$door" >"$dir/status.out" 2>&1 && fail "there still is a filter"
	serve
	ask "$from4" "$v4" many 20 100
	ask "$from6" "$v6" many 20 100
	counted one "xdp_${door}_echoed=40" dgrams_in=0
}

# After SIGTERM nobody is answered, not even for a while.
stopped() {
	fast_street
	serve
	ask "$from4" "$v4" many 20 100
	ask "$from6" "$v6" many 20 100
	sluice_stop one
	printed "fast path $door: 40 datagrams echoed" one.out
	is_off
	ask "$from4" "$v4" send 100 is-silent 50
	ask "$from6" "$v6" send 100 is-silent 50
}

# A stream that goes on keeps the server from ending, but not the echo of datagrams going.
draining() {
	local echoed out
	fast_street
	serve -l tcp:0.0.0.0:7007
	ask "$from4" "$v4" many 20 100
	# shellcheck disable=SC2046 # words
	NS=$client peer_start stream connect "tcp:$v4" swap 100 say swapped \
		$(printf 'swap %s pause 20 ' {1..150}) shut eof
	peer_says stream swapped
	sluice_signal one TERM
	wait_until 5 has_gone_silent || fail "datagrams are answered after SIGTERM"
	counters one
	echoed=$(by "$door" echoed) out=${count[dgrams_out]}
	ask "$from4" "$v4" send 100 send 100 is-silent 100
	counted one "xdp_${door}_echoed=$echoed" dgrams_out="$out"
	! is_gone "${pid_of[stream]}" || fail "the stream was over before"
	peer_ends stream
	sluice_stopped one
}

has_gone_silent() {
	NS=$client peer -f "udp:$from4" datagram "udp:$v4" send 100 is-silent 50 2>"$dir/silent.log"
}

once "an address comes and goes, IPv4" address_comes_and_goes 4
once "an address comes and goes, IPv6" address_comes_and_goes 6
once "another MAC address" new_mac
once "interfaces down and up" down_and_up
once "an interface goes" door_gone
once "other rules" new_rules
once "the filter is taken off" detached
once "one filter is taken off" one_detached
once "SIGKILL" killed
once "SIGTERM" stopped
once "SIGTERM while a stream goes on" draining
main "$@"
