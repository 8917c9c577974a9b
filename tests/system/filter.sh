#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Servers with --xdp: what reaches them and what does not, limits, and that nothing stays attached.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2154 # street sets client, server and door
v4=10.77.0.9:7007 v6="[fd77::9]:7007"

# A server on both families and kinds, filtering by "$dir/rules".
serve() { # MODE [ARGUMENT...]
	NS=$server sluice_start one echo -l udp:0.0.0.0:7007 -l "udp:[::]:7007" \
		-l tcp:0.0.0.0:7007 -l "tcp:[::]:7007" \
		--xdp "$door" --xdp-mode "$1" --xdp-rules "$dir/rules" --fast-path off "${@:2}"
}

swap() { # TO BYTES
	NS=$client must peer connect "tcp:$1" swap "$2" shut eof
}

# ---- verdicts ----

verdicts() { # MODE
	street
	rules "drop from 10.77.0.2" "drop from fd77::2 to-port 7007" "drop length 1000-1100"
	serve "$1"
	answered 10.77.0.1 "$v4" many 50 100 send 1472 recv 1472 send 0 recv 0
	answered "[fd77::1]" "$v6" many 50 100 send 1452 recv 1452 send 0 recv 0
	throw 10.77.0.2 "$v4" 3
	throw "[fd77::2]" "$v6" 4
	throw 10.77.0.1 "$v4" 2 1050
	throw "[fd77::1]" "$v6" 1 1000
	filtered "drop prefix=7" "drop length=3" "pass default=104" drop=10 "default pass=104" \
		"drop from 10.77.0.2=3" "drop from fd77::2 to-port 7007=4" \
		"drop length 1000-1100=3"
	# Headers of Ethernet, IP and UDP, and 100 bytes.
	((frame_bytes["drop from 10.77.0.2"] == 3 * 142)) ||
		fail "${frame_bytes["drop from 10.77.0.2"]} bytes"
	((frame_bytes["drop from fd77::2 to-port 7007"] == 4 * 162)) ||
		fail "${frame_bytes["drop from fd77::2 to-port 7007"]} bytes over IPv6"
	counted one dgrams_in=104 dgrams_out=104
}

# Only the first fragment has a port; the others are nobody's.
fragments() { # MODE
	street
	rules "drop from 10.77.0.2" "drop from fd77::2"
	serve "$1"
	answered 10.77.0.1 "$v4" send 65507 recv 65507 many 20 5000
	answered "[fd77::1]" "$v6" send 65527 recv 65527 many 20 5000
	filtered "pass default=42" drop=0
	throw 10.77.0.2 "$v4" 2 5000
	throw "[fd77::2]" "$v6" 2 5000
	filtered "pass default=42" "drop prefix=4" drop=4
	answered 10.77.0.1 "$v4" many 5 5000
	counted one dgrams_in=47
}

no_fragments() { # MODE
	street
	rules "drop fragments"
	serve "$1"
	throw 10.77.0.1 "$v4" 3 5000
	throw "[fd77::1]" "$v6" 2 5000
	answered 10.77.0.1 "$v4" many 20 1472
	answered "[fd77::1]" "$v6" many 20 1452
	filtered "drop fragment=5" drop=5 "drop fragments=5" "pass default=40"
	swap "$v4" 1000000
	counted one dgrams_in=40
}

# Frames that take more than one buffer.
jumbo() { # MODE
	street
	must ip -n "$client" link set out mtu 9000
	must ip -n "$server" link set "$door" mtu 9000
	rules "drop from 10.77.0.2" "drop length 8901-8960"
	serve "$1"
	answered 10.77.0.1 "$v4" send 8972 recv 8972 many 50 8000
	answered "[fd77::1]" "$v6" many 50 8000
	throw 10.77.0.2 "$v4" 3 8000
	throw "[fd77::1]" "$v6" 2 8950
	filtered "drop prefix=3" "drop length=2" "pass default=101"
	((frame_bytes["drop prefix"] == 3 * 8042)) || fail "${frame_bytes["drop prefix"]} bytes"
	counted one dgrams_in=101
	swap "$v6" 5000000
}

# Behind no tag, one, or two, which the server's host takes off without knowing VLANs.
vlan() { # MODE
	local mac tags from
	street
	rules "drop from 10.77.0.2"
	serve "$1"
	answered 10.77.0.1 "$v4" many 10 100
	mac=$(ip -n "$server" -o link show "$door")
	mac=${mac#*link/ether }
	for tags in 0 1 2; do
		for from in 10.77.0.1 10.77.0.2; do
			NS=$client must peer tagged out "${mac%% *}" "$tags" "udp:$from:9999" \
				"udp:$v4" 100
		done
	done
	filtered "drop from 10.77.0.2=3" drop=3 "pass default=13"
	((frame_bytes["drop prefix"] == 142 + 146 + 150)) ||
		fail "${frame_bytes["drop prefix"]} bytes: there were no tags"
	reaches one dgrams_out 13
	counted one dgrams_in=13
}

# ---- what is not the server's ----

others_services() { # MODE
	local who
	street
	rules "default drop" "drop to-port 7008" "drop from 10.77.0.1"
	NS=$server sluice_start one echo -l "udp:$v4" -l "udp:$v6" \
		--xdp "$door" --xdp-mode "$1" --xdp-rules "$dir/rules"
	NS=$server peer_serve port echo udp:10.77.0.9:7008
	NS=$server peer_serve host echo udp:10.77.0.8:7007
	NS=$server peer_serve both echo "udp:[fd77::9]:7008"
	answered 10.77.0.1 10.77.0.9:7008 many 20 100 many 5 5000
	answered 10.77.0.1 10.77.0.8:7007 many 20 100
	answered "[fd77::1]" "[fd77::9]:7008" many 20 100
	filtered drop=0 "pass default=0"
	throw 10.77.0.1 "$v4" 3
	throw "[fd77::1]" "$v6" 2
	filtered drop=5 "drop prefix=3" "drop default=2"
	counted one dgrams_in=0
	# What the server's host asks elsewhere is answered.
	NS=$client peer_serve asked echo udp:10.77.0.3:7007
	NS=$server must peer datagram udp:10.77.0.3:7007 many 20 100
	filtered drop=5
	for who in port host both asked; do
		peer_kill "$who"
	done
}

# Streams do not feel that every datagram beside them is dropped.
streams() { # MODE
	street
	rules "default drop"
	serve "$1"
	NS=$client peer_serve upstream -s 2 -r 1 listen tcp:10.77.0.3:0 swap 3000000 shut eof
	NS=$server sluice_start relay relay -l tcp:10.77.0.9:7009 -t "$(address upstream)"
	# shellcheck disable=SC2046 # words
	NS=$client peer_start flood datagram "udp:$v4" \
		$(printf "send 100 %.0s" {1..3000}) say flooded
	swap "$v4" 5000000
	swap "$v6" 5000000
	NS=$client must peer -s 1 -r 2 connect tcp:10.77.0.9:7009 swap 3000000 shut eof
	peer_ends upstream
	peer_ends flood
	# A cable may be full for a moment: what it carried was dropped, all of it.
	throw 10.77.0.1 "$v4" 10
	wait_until 5 has_dropped_all || fail "the filter passed some of the flood"
	counted one dgrams_in=0 bytes_in=10000000
}

has_dropped_all() {
	filter_counters
	((count["drop default"] >= 10 && count["drop default"] == count[drop] &&
		${count["pass default"]:-0} == 0))
}

# A relay's upstream answers to ports that are not the listeners'.
relay() { # MODE
	street
	rules "default drop" "pass from 10.77.0.1"
	NS=$client peer_serve upstream echo udp:10.77.0.3:0
	NS=$server sluice_start one relay -l "udp:$v4" -t "$(address upstream)" \
		--xdp "$door" --xdp-mode "$1" --xdp-rules "$dir/rules"
	answered 10.77.0.1 "$v4" many 100 100
	throw 10.77.0.2 "$v4" 3
	filtered "pass prefix=100" "drop default=3" drop=3
	counted one dgrams_in=200 dgrams_out=200 sessions_opened=1
	peer_kill upstream
}

# Addresses are found and pings answered where all datagrams are dropped.
arp_and_icmp() { # MODE
	street
	rules "default drop"
	serve "$1"
	must ip -n "$client" neigh flush all
	must ip -n "$server" neigh flush all
	NS=$client must peer ping udp:10.77.0.9:0
	NS=$client must peer ping "udp:[fd77::9]:0"
	NS=$server must peer ping udp:10.77.0.1:0
	ip -n "$client" neigh show 10.77.0.9 | grep -q lladdr || fail "ARP has found nothing"
	throw 10.77.0.1 "$v4" 1
	filtered drop=1 "drop default=1"
	((count["pass other"] >= 3)) || fail "the filter has seen ${count["pass other"]} of them"
}

# ---- limits ----

# 20 datagrams from ADDRESS, until the filter has counted them.
volley() { # FROM TO [BYTES]
	((sent += 20))
	throw "$1" "$2" 20 "${3:-100}"
	wait_until 5 have_arrived || fail "only $arrived of $sent datagrams were judged"
}

have_arrived() {
	filter_counters
	arrived=$((${count["pass default"]:-0} + count[drop]))
	((arrived == sent))
}

# So many have passed since `began`, and what a limit gives back in whole seconds.
limited() { # PASSED [PER-SECOND]
	local most
	now_ms
	most=$(($1 + (now - began + 1) * ${2:-1} / 1000))
	((count["pass default"] >= $1 && count["pass default"] <= most)) ||
		fail "${count["pass default"]} have passed instead of $1 to $most"
}

begin() {
	sent=0
	now_ms
	began=$now
}

per_source() { # MODE
	local passed
	street
	rules "limit to-port 7007 rate 1 burst 5 per source"
	serve "$1"
	begin
	volley 10.77.0.1 "$v4"
	limited 5
	volley 10.77.0.2 "$v4"
	limited 10 2
	volley "[fd77::1]" "$v6"
	limited 15 3
	volley "[fd77::2]" "$v6"
	limited 20 4
	((count[drop] == count["drop rate-source"])) || fail "not all for the source"
	passed=${count["pass default"]}
	reaches one dgrams_out "$passed"
	counted one dgrams_in="$passed" dgrams_out="$passed"
}

per_prefix() { # MODE
	street
	must ip -n "$client" addr add 10.79.0.1/24 dev out
	must ip -n "$server" addr add 10.79.0.9/24 dev "$door"
	rules "limit to-port 7007 rate 1 burst 5 per prefix 24,64"
	serve "$1"
	begin
	volley 10.77.0.1 "$v4"
	volley 10.77.0.2 "$v4"
	limited 5
	volley 10.79.0.1 10.79.0.9:7007
	limited 10 2
	volley "[fd77::1]" "$v6"
	volley "[fd77::2]" "$v6"
	limited 15 3
	((count[drop] == count["drop rate-prefix"])) || fail "not all for the prefix"
}

# Sources within their own limit share another one.
in_total() { # MODE
	street
	rules "limit rate 1 burst 8 total" "limit rate 1 burst 5 per source"
	serve "$1"
	begin
	volley 10.77.0.1 "$v4"
	limited 5
	volley 10.77.0.2 "$v4"
	volley "[fd77::1]" "$v6"
	limited 8
	((count["drop rate-source"] >= 15 && count["drop rate-total"] >= 1)) ||
		fail "dropped: $(grep ' drop ' "$dir/stats.out")"
}

bytes_limit() { # MODE
	street
	rules "limit to-port 7007 rate 1KB/s burst 1704B per source"
	serve "$1"
	begin
	volley 10.77.0.1 "$v4" # frames of 142 bytes
	limited 12 8
	volley 10.77.0.2 "$v4"
	limited 24 16
}

# ---- beginning and end ----

lines_and_counters() { # MODE
	local at
	street
	rules "drop from 10.77.0.2" "limit rate 1000000 per source"
	NS=$server sluice_start one echo -l udp:0.0.0.0:0 \
		--xdp "$door" --xdp-mode "$1" --xdp-rules "$dir/rules"
	printed "filtering $door mode=$1 rules=3" one.out
	[[ $(tail -n 2 "$dir/one.out") == filtering*ready ]] || fail "not just before ready"
	is_filtering "$server" "$door" || fail "nothing is attached"
	control status
	printed "$door mode=$1 server=${pid_of[one]} listeners=1 rules=3 limits=1 memory=.* \
generation=1 since=20.*"
	at=$(address one)
	throw 10.77.0.2 "10.77.0.9:${at##*:}" 3
	answered 10.77.0.1 "10.77.0.9:${at##*:}" many 20 100
	filtered drop=3 "pass default=20"
	counted one dgrams_in=20 "xdp_${door}_dropped=3"
	((count["xdp_${door}_passed"] >= 20)) || fail "passed: ${count["xdp_${door}_passed"]}"
	sluice_stop one
	printed "filter $door: [0-9]+ packets passed, 3 dropped \(prefix 3\)" one.out
	is_off
}

# Without --xdp-rules everything passes; without --xdp-mode native is taken where it is.
defaults() {
	street
	NS=$server sluice_start one echo -l "udp:$v4" --xdp "$door"
	printed "filtering $door mode=native rules=1" one.out
	! grep -v '^info: ' "$dir/one.err" || fail "it warns of something"
	answered 10.77.0.1 "$v4" many 20 100
	filtered "default pass=20" drop=0
	sluice_stop one
	printed "filter $door: [0-9]+ packets passed, 0 dropped" one.out
	is_off
}

killed() { # MODE
	street
	rules "default drop"
	serve "$1"
	is_filtering "$server" "$door" || fail "nothing is attached"
	sluice_kill one
	is_off
	NS=$server peer_serve next echo "udp:$v4"
	answered 10.77.0.1 "$v4" many 20 100
	peer_kill next
}

# The interface goes; the server stays.
door_gone() {
	street
	rules "default pass"
	serve auto --xdp lo
	must ip -n "$server" link delete "$door"
	NS=$server must peer datagram udp:127.0.0.1:7007 many 20 100
	counted one dgrams_in=20 "xdp_${door}_dropped=0" xdp_lo_dropped=0
	sluice_stop one
	printed "filter $door: [0-9]+ packets passed, 0 dropped" one.out
}

two_doors() { # MODE
	street
	second_door
	rules "drop from 10.77.0.2" "drop from 10.78.0.1"
	serve "$1" --xdp "$second"
	printed "filtering $door mode=$1 rules=3" one.out
	printed "filtering $second mode=$1 rules=3" one.out
	throw 10.77.0.2 "$v4" 3
	throw 10.78.0.1 10.78.0.9:7007 2
	answered 10.77.0.1 "$v4" many 20 100
	filtered drop=3
	counted one "xdp_${door}_dropped=3" "xdp_${second}_dropped=2" dgrams_in=20
	NS=$server must xdp status >"$dir/status.out"
	(($(wc -l <"$dir/status.out") == 2)) || fail "status: $(<"$dir/status.out")"
	sluice_stop one
	printed "filter $door: [0-9]+ packets passed, 3 dropped \(prefix 3\)" one.out
	printed "filter $second: [0-9]+ packets passed, 2 dropped \(prefix 2\)" one.out
	is_off
	! is_filtering "$server" "$second" || fail "the second filter is still there"
}

# Fails at its start with one line that has TEXT, and leaves nothing on the door.
starts_not() { # TEXT ARGUMENT...
	local status
	NS=$server sluice_launch bad echo -l "udp:$v4" "${@:2}"
	ends bad 10
	((status == 1)) || fail "ended with status $status: $(<"$dir/bad.err")"
	grep -qF -- "$1" "$dir/bad.err" || fail "no '$1' in: $(<"$dir/bad.err")"
	! grep -q ready "$dir/bad.out" || fail "it was ready before"
	is_off
}

second_wrong() {
	street
	second_door
	starts_not "x-none: no such interface" --xdp "$door" --xdp x-none
	NS=$server peer_serve other occupy "$second"
	starts_not "$second runs another XDP program already: somebody_else" \
		--xdp "$door" --xdp "$second"
	is_filtering "$server" "$second" || fail "the other program has gone"
	peer_kill other
	NS=$server sluice_start one echo -l udp:0.0.0.0:0 --xdp "$second"
	starts_not "$second has a filter of sluice already" --xdp "$door" --xdp "$second"
	is_filtering "$server" "$second" || fail "the other server's filter has gone"
}

rules_wrong() {
	street
	starts_not "$dir/none: No such file" --xdp "$door" --xdp-rules "$dir/none"
	rules "default pass" "drop form 10.77.0.2"
	starts_not "$dir/rules:2:6: " --xdp "$door" --xdp-rules "$dir/rules"
	rules "drop to-port 7" "pass to-port 7"
	starts_not "$dir/rules:2:" --xdp "$door" --xdp-rules "$dir/rules"
}

# A name would do for loopback, which has no native mode.
loopback() {
	local status
	need_xdp
	netns server
	rules "drop length 50-60"
	NS=$server sluice_launch bad echo -l udp:127.0.0.1:0 --xdp lo --xdp-mode native
	ends bad 10
	((status == 1)) || fail "native on lo ended with status $status"
	printed '.*lo cannot run XDP programs in its driver.*' bad.err
	NS=$server sluice_start one echo -l udp:127.0.0.1:0 --xdp lo --xdp-rules "$dir/rules"
	printed 'filtering lo mode=generic rules=2' one.out
	(($(logged one 'which refused the filter') == 1)) ||
		fail "the log does not tell: $(<"$dir/one.err")"
	NS=$server must peer datagram "$(address one)" many 20 100 send 55 send 100 recv 100
	counted one dgrams_in=21 xdp_lo_dropped=1
}

in_modes "what passes and what does not" verdicts
in_modes "large datagrams" fragments
in_modes "drop fragments" no_fragments
in_modes "jumbo frames" jumbo
in_modes "VLANs" vlan
in_modes "other services of the host" others_services
in_modes "streams while datagrams are dropped" streams
in_modes "UDP relay" relay
in_modes "ARP and ICMP" arp_and_icmp
in_modes "limit per source" per_source
in_modes "limit per prefix" per_prefix
in_modes "limit in total" in_total
in_modes "limit in bytes" bytes_limit
in_modes "lines and counters" lines_and_counters
once "defaults" defaults
in_modes "SIGKILL takes the filter off" killed
once "the interface goes" door_gone
in_modes "two interfaces" two_doors
once "a wrong second interface" second_wrong
once "wrong rules" rules_wrong
once "loopback" loopback
main "$@"
