#!/bin/bash
# SPDX-License-Identifier: MIT
#
# UDP echo in the driver: what is answered there, what is left to the sockets, and what nobody
# answers. fast-echo-change.sh changes things meanwhile.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/system/fast-lib.sh
. "$(dirname "$0")/fast-lib.sh"

# shellcheck disable=SC2154 # street sets client, server and door
v4=10.77.0.9:7007 v6="[fd77::9]:7007"
from4=10.77.0.1:5555 from6="[fd77::1]:5555"

# So many have been answered in the driver, and all others by the server.
answered_by() { # ECHOED DATAGRAMS
	counted one "xdp_${door}_echoed=$1" dgrams_in="$2" dgrams_out="$2"
}

# ---- what is answered ----

every_size() { # FAMILY
	local from=$from4 at=$v4 most=1472 sizes
	fast_street
	serve
	served_by one 1 "xdp:$door"
	served_by one 2 "xdp:$door"
	(($1 == 4)) || from=$from6 at=$v6 most=1452
	mapfile -t sizes < <(seq 0 64; seq 65 67 $((most - 1)); echo "$most")
	# shellcheck disable=SC2046 # words
	ask_once "$from" "$at" $(in_turn "${sizes[@]}") from "udp:$at" many 1000 100 \
		many 200 "$most"
	answered_by $((${#sizes[@]} + 1200)) 0
	# Larger ones come in pieces, which are no datagrams yet.
	# shellcheck disable=SC2046 # words
	ask_once "$from" "$at" $(in_turn $((most + 1)) 2000 5000 65507) many 20 5000 \
		$(in_turn "$most")
	answered_by $((${#sizes[@]} + 1201)) 24
	counted one "xdp_${door}_up=24" "xdp_${door}_up-fragment=24" "xdp_${door}_forwarded=0"
	filter_counters
	((count["pass default"] == ${#sizes[@]} + 1225)) ||
		fail "${count["pass default"]} have passed"
	sluice_stop one
	printed "fast path $door: $((${#sizes[@]} + 1201)) datagrams echoed \(up-fragment 24\)" \
		one.out
	is_off
}

# Frames of more than one buffer are the sockets'.
jumbo() {
	fast_street
	must ip -n "$client" link set out mtu 9000
	must ip -n "$server" link set "$door" mtu 9000
	serve
	# shellcheck disable=SC2046 # words
	ask_once "$from4" "$v4" $(in_turn 0 1500 3000 4000 8000 8972) many 50 8000
	# shellcheck disable=SC2046 # words
	ask_once "$from6" "$v6" $(in_turn 0 1500 3000 4000 8000 8952) many 50 8000
	counters one
	(($(by "$door" echoed) >= 4)) || fail "$(by "$door" echoed) echoed"
	(($(by "$door" up-buffers) >= 1)) || fail "none came up for its buffers"
	answered_by $((112 - $(by "$door" up-buffers))) "$(by "$door" up-buffers)"
}

# Each address of the host answers for itself, more of them than the table has room for, too.
many_addresses() {
	local i
	fast_street
	for i in {0..299}; do
		echo "addr add 10.77.$((1 + i / 200)).$((1 + i % 200))/16 dev $door"
	done >"$dir/addresses"
	must ip -n "$server" -batch "$dir/addresses"
	must ip -n "$client" route add 10.77.0.0/16 dev out
	serve
	for i in {0..299}; do
		echo "10.77.$((1 + i / 200)).$((1 + i % 200)):7007"
	done >"$dir/at"
	while read -r at; do
		ask "$from4" "$at" send 100 recv 100 from "udp:$at"
	done <"$dir/at"
	counters one
	(($(by "$door" echoed) >= 250)) || fail "$(by "$door" echoed) of 300 echoed"
	answered_by $((300 - $(by "$door" up-address))) "$(by "$door" up-address)"
}

link_local() {
	fast_street
	must ip -n "$server" addr add fe80::9/64 dev "$door" nodad
	must ip -n "$client" addr add fe80::1/64 dev out nodad
	serve
	ask_once "[fe80::1%out]:5555" "[fe80::9%out]:7007" many 100 100 from "udp:[fe80::9]:7007"
	answered_by 100 0
}

# Tags without a VLAN, as frames with a priority have them. The peer's have no UDP checksum either.
tagged() {
	local tags mac
	fast_street
	must ip -n "$client" link set out address 02:00:00:00:00:00
	serve
	mac=$(mac_of "$server" "$door")
	NS=$client peer_start asker -f udp:10.77.0.1:9999 datagram "udp:$v4" \
		send 100 recv 100 say here recv 100 recv 100 recv 100 is-silent 100
	peer_says asker here
	for tags in 0 1 2; do
		NS=$client must peer tagged out "$mac" "$tags" udp:10.77.0.1:9999 "udp:$v4" 100
	done
	peer_ends asker
	answered_by 4 0
}

# Hosts whose device computes the checksum: on a veth, nothing does.
unfinished_checksums() {
	fast_street
	must ip netns exec "$client" ethtool -K out tx on >"$dir/ethtool.log"
	serve
	ask_once "$from4" "$v4" many 100 100 send 5000 recv 5000
	ask_once "$from6" "$v6" many 100 100
	counted one "xdp_${door}_up-checksum=200" "xdp_${door}_up-fragment=1"
	answered_by 0 201
}

# An XDP program at the other end does instead of GRO.
other_program() {
	fast_street
	must ip netns exec "$client" ethtool -K out gro off
	NS=$client peer_serve other occupy out
	serve
	ask_once "$from4" "$v4" many 200 100 many 100 1472
	ask_once "$from6" "$v6" many 200 100 many 100 1452
	answered_by 600 0
	peer_kill other
}

# The other end takes nothing: the sockets answer after the first that was lost.
refused_frames() {
	fast_street
	must ip netns exec "$client" ethtool -K out gro off
	serve
	until_more "$door" up-off try_to_ask
	given_up "$door"
	grep -qF "needs GRO" "$dir/one.err" || fail "no remedy: $(<"$dir/one.err")"
	ask_once "$from4" "$v4" many 100 100
	ask_once "$from6" "$v6" many 100 100
}

try_to_ask() {
	NS=$client peer -T 1 -f "udp:$from4" datagram "udp:$v4" send 100 recv 100 2>"$dir/try.log"
}

# The same in a namespace beside, whose interfaces have the same numbers: nothing of ours.
refused_elsewhere() {
	local here other_client other_server
	fast_street
	serve
	here=$client
	netns other_client other_server
	cable "$other_client" out 10.77.0.1/24 "$other_server" "${door%a}o" 10.77.0.9/24
	[[ $(ip -n "$server" -o link show "$door" | cut -d : -f 1) == \
		"$(ip -n "$other_server" -o link show "${door%a}o" | cut -d : -f 1)" ]] ||
		skip "interfaces have other numbers here"
	must ip netns exec "$other_client" ethtool -K out tx off >"$dir/ethtool.log"
	NS=$other_server sluice_start two echo -l udp:0.0.0.0:7007 --xdp "${door%a}o" "${fast[@]}"
	client=$other_client
	wait_until 15 two_gives_up || fail "the other one goes on"
	client=$here
	ask_once "$from4" "$v4" many 100 100
	counted one "xdp_${door}_echoed=100" dgrams_in=0
	! grep -qF "no fast path any more" "$dir/one.err" || fail "given up: $(<"$dir/one.err")"
}

two_gives_up() {
	try_to_ask
	grep -qF "no fast path any more" "$dir/two.err"
}

two_doors() {
	fast_street
	second_door
	real_end "$client" out2
	serve --xdp "$second"
	served_by one 1 "xdp:$door,$second"
	ask_once "$from4" "$v4" many 100 100
	ask_once 10.78.0.1:5555 10.78.0.9:7007 many 200 100
	ask_once "$from6" "$v6" many 300 100
	answered_by 400 0
	counted one "xdp_${second}_echoed=200" "xdp_${second}_up=0"
	# The other door's address is this host's, too.
	must ip -n "$client" route add 10.78.0.9/32 dev out
	ask_once "$from4" 10.78.0.9:7007 many 100 100
	sluice_stop one
	printed "fast path $door: 500 datagrams echoed" one.out
	printed "fast path $second: 200 datagrams echoed" one.out
	is_off
	! is_filtering "$server" "$second" || fail "the second filter is still there"
}

# Nothing of what others serve on this host is answered.
others_services() {
	local who
	fast_street
	NS=$server sluice_start one echo -l "udp:$v4" -l "udp:$v6" -l udp:127.0.0.1:7009 \
		--xdp "$door" "${fast[@]}"
	served_by one 2 "xdp:$door"
	served_by one 3 off
	told one udp:127.0.0.1:7009 "datagrams for its address do not come in there"
	NS=$server peer_serve port names udp:10.77.0.9:7008
	NS=$server peer_serve host names udp:10.77.0.8:7007
	NS=$server peer_serve loop names udp:10.77.0.9:7009
	NS=$server peer_serve both names "udp:[fd77::9]:7008"
	for at in 10.77.0.9:7008 10.77.0.8:7007 10.77.0.9:7009; do
		ask "$from4" "$at" text x print >"$dir/answer.out"
		printed "udp:$at udp:$from4" answer.out
	done
	ask "$from6" "[fd77::9]:7008" text x print >"$dir/answer.out"
	grep -qF "udp:[fd77::9]:7008 udp:$from6" "$dir/answer.out" || fail "another answer"
	NS=$server must peer datagram udp:127.0.0.1:7009 many 20 100
	ask "$from4" "$v4" many 20 100
	answered_by 20 20
	for who in port host loop both; do
		peer_kill "$who"
	done
}

# ---- what is not answered there, or not at all ----

rules_first() {
	fast_street
	rules "drop from 10.77.0.2" "drop from fd77::2 to-port 7007" "drop length 1000-1100" \
		"drop fragments"
	serve --xdp-rules "$dir/rules"
	ask "$from4" "$v4" many 50 100
	ask "$from6" "$v6" many 50 100
	ask "10.77.0.2:5555" "$v4" send 100 send 100 is-silent 100
	ask "[fd77::2]:5555" "$v6" send 100 is-silent 100
	ask "$from4" "$v4" send 1050 send 5000 is-silent 100
	filtered drop=5 "drop prefix=3" "drop length=1" "drop fragment=1" "pass default=100"
	counted one "xdp_${door}_up=0"
	answered_by 100 0
}

limits() {
	local echoed
	fast_street
	rules "limit to-port 7007 rate 1 burst 5 per source"
	serve --xdp-rules "$dir/rules"
	throw 10.77.0.1 "$v4" 20
	throw "[fd77::1]" "$v6" 20
	wait_until 5 all_judged || fail "not all of them were judged"
	echoed=$((count["pass default"]))
	((echoed >= 10 && echoed < 40)) || fail "$echoed have passed"
	counters one
	(($(by "$door" echoed) + $(by "$door" up) == echoed)) || fail "not what has passed"
}

all_judged() {
	filter_counters
	((${count["pass default"]:-0} + ${count[drop]:-0} == 40))
}

# From ports whose services might answer back.
reflection() { # WHEN
	local port
	fast=(--fast-path "$1")
	fast_street
	serve
	for port in 7 9 13 17 19; do
		ask "10.77.0.1:$port" "$v4" send 100 is-silent 30
		ask "[fd77::1]:$port" "$v6" send 100 is-silent 30
	done
	NS=$client must peer raw udp:10.77.0.1:0 "udp:$v4" 100
	reaches one drop_reflection 11
	# Another host's same port is nobody's loop.
	ask_once 10.77.0.1:7007 "$v4" send 10 recv 10
	if [[ $1 == off ]]; then
		counted one dgrams_in=12 dgrams_out=1
	else
		counted one "xdp_${door}_up-source=11" "xdp_${door}_echoed=1" dgrams_in=11 \
			dgrams_out=0
	fi
}

broadcasts() { # WHEN
	local mac
	fast=(--fast-path "$1")
	fast_street
	serve -w 1
	mac=$(mac_of "$server" "$door")
	ask "$from4" 10.77.0.255:7007 send 100 is-silent 30
	must ip -n "$client" route add 255.255.255.255 dev out
	ask "$from4" 255.255.255.255:7007 send 100 is-silent 30
	ask "$from6" "[ff02::1%out]:7007" send 100 is-silent 30
	# To this interface alone, as nobody should.
	NS=$client must peer tagged out "$mac" 0 "udp:$from4" udp:10.77.0.255:7007 100
	reaches one drop_reflection 4
	counted one dgrams_in=4 dgrams_out=0
	[[ $1 == off ]] || counted one "xdp_${door}_up-address=4" "xdp_${door}_echoed=0"
}

# Sources that are no host's, or this one, and frames for others.
odd_frames() {
	local from mac
	fast_street
	serve
	mac=$(mac_of "$server" "$door")
	for from in 127.0.0.1 0.1.2.3 224.0.0.1 255.255.255.255 10.77.0.8 10.77.0.9; do
		NS=$client must peer tagged out "$mac" 0 "udp:$from:5555" "udp:$v4" 100
	done
	NS=$client must peer tagged out 02:00:00:00:00:77 0 "udp:$from4" "udp:$v4" 100
	NS=$client must peer tagged out "$mac" 0 "udp:$from4" udp:10.77.0.99:7007 100
	wait_until 5 fast_has_reached one "$door" up 8 || fail "$(by "$door" up) of 8 came up"
	counted one "xdp_${door}_up-source=6" "xdp_${door}_up-address=2" "xdp_${door}_echoed=0" \
		dgrams_out=0
}

# A source that is everybody in the street, whether its address was given with a broadcast one or
# not: the kernel has a route for both.
broadcast_sources() {
	local from mac
	fast_street
	must ip -n "$server" addr add 10.79.0.9/24 brd + dev "$door"
	serve
	mac=$(mac_of "$server" "$door")
	for from in 10.79.0.255 10.77.0.255; do
		NS=$client must peer tagged out "$mac" 0 "udp:$from:5555" "udp:$v4" 100
	done
	reaches one drop_send_error 2
	counted one "xdp_${door}_up-source=2" "xdp_${door}_echoed=0" dgrams_out=0
}

# Strict filtering of reverse paths takes a look at the routes.
reverse_path() {
	local mac
	fast_street
	setting "$server" ipv4.conf.all.rp_filter 1
	serve
	mac=$(mac_of "$server" "$door")
	ask_once "$from4" "$v4" many 20 100
	counted one "xdp_${door}_up-forwarding=20" "xdp_${door}_echoed=0"
	setting "$server" ipv4.conf.lo.forwarding 1
	ask_once "$from4" "$v4" many 20 100
	ask_once "$from6" "$v6" many 20 100
	answered_by 40 20
	NS=$client must peer tagged out "$mac" 0 udp:10.99.0.1:5555 "udp:$v4" 100
	wait_until 5 fast_has_reached one "$door" up-source 1 || fail "a wrong path is answered"
	answered_by 40 20
}

# ---- where it is, and where not ----

off() {
	fast_street
	fast=(--fast-path off)
	serve
	served_by one 1 off
	served_by one 2 off
	told one udp:0.0.0.0:7007 "--fast-path off"
	ask_once "$from4" "$v4" many 50 100
	counted one dgrams_in=50
	[[ ! ${count[xdp_${door}_echoed]-} ]] || fail "it counts echoed datagrams"
	sluice_stop one
	! grep -q '^fast path' "$dir/one.out" || fail "there is a line of the fast path"
}

generic() {
	fast_street
	serve --xdp-mode generic
	served_by one 1 off
	told one "udp:[::]:7007" "$door has the filter in generic mode"
	ask_once "$from4" "$v4" many 50 100
	counted one dgrams_in=50
	sluice_stop one
	fast=(--fast-path on)
	serve --xdp-mode generic
	served_by one 1 "xdp:$door"
	ask_once "$from4" "$v4" many 100 100 many 100 1472 send 5000 recv 5000
	ask_once "$from6" "$v6" many 100 100 many 100 1452
	answered_by 400 1
	is_filtering "$server" "$door" || fail "nothing is attached"
}

loopback_only() {
	fast_street
	NS=$server sluice_start one echo -l udp:127.0.0.1:7007 -l "udp:[::1]:7007" --xdp "$door"
	served_by one 1 off
	served_by one 2 off
	told one udp:127.0.0.1:7007 "datagrams for its address do not come in there"
	NS=$server must peer datagram udp:127.0.0.1:7007 many 20 100
	counted one dgrams_in=20
}

# A discard has nothing to answer with.
discard() {
	fast_street
	NS=$server sluice_start one discard -l udp:0.0.0.0:7007 --xdp "$door"
	served_by one 1 off
	told one udp:0.0.0.0:7007 "discard has none"
	ask "$from4" "$v4" send 100 is-silent 30
	counted one dgrams_in=1 dgrams_out=0
}

# Ends at once with STATUS and one line that has TEXT.
wrong() { # STATUS TEXT ARGUMENT...
	local status
	sluice_launch bad "${@:3}"
	ends bad 10
	((status == $1)) || fail "${*:3}: status $status: $(<"$dir/bad.err")"
	grep -qF -- "$2" "$dir/bad.err" || fail "${*:3}: no '$2' in: $(<"$dir/bad.err")"
	! grep -q ready "$dir/bad.out" || fail "${*:3}: it was ready before"
}

wrong_usage() {
	local udp=(-l udp:127.0.0.1:0) to=(-t udp:127.0.0.1:9)
	wrong 2 --fast-path echo "${udp[@]}" --fast-path on
	wrong 2 --fast-path relay "${udp[@]}" "${to[@]}" --fast-path on
	wrong 2 --fast-path discard "${udp[@]}" --xdp lo --fast-path on
	wrong 2 --fast-sessions echo "${udp[@]}" --xdp lo --fast-sessions 5
	wrong 2 --fast-sessions discard "${udp[@]}" --xdp lo --fast-sessions 5
	wrong 2 --fast-path echo "${udp[@]}" --xdp lo --fast-path maybe
	wrong 2 --fast-sessions relay "${udp[@]}" "${to[@]}" --xdp lo --fast-sessions 0
	wrong 2 --fast-sessions relay "${udp[@]}" "${to[@]}" --xdp lo --fast-sessions 65537
}

once "every size, IPv4" every_size 4
once "every size, IPv6" every_size 6
once "jumbo frames" jumbo
once "300 addresses" many_addresses
once "addresses of the link" link_local
once "tags without a VLAN" tagged
once "unfinished checksums" unfinished_checksums
once "an XDP program at the other end" other_program
once "frames that are not taken" refused_frames
once "frames that are not taken elsewhere" refused_elsewhere
once "two interfaces" two_doors
once "other services of the host" others_services
once "rules first" rules_first
once "limits" limits
once "reflection, off" reflection off
once "reflection, auto" reflection auto
once "broadcast and multicast, off" broadcasts off
once "broadcast and multicast, auto" broadcasts auto
once "odd frames" odd_frames
once "broadcast sources" broadcast_sources
once "reverse path filtering" reverse_path
once "off" off
once "generic mode" generic
once "loopback" loopback_only
once "discard" discard
once "wrong usage" wrong_usage
main "$@"
