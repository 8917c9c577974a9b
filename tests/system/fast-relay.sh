#!/bin/bash
# SPDX-License-Identifier: MIT
#
# UDP relay in the driver: datagrams of every size, sessions and their ends, what is refused.
# fast-relay-net.sh has what the network does meanwhile.

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

# ---- datagrams ----

every_size() { # FAMILY
	local sizes
	forwarding "$1" echo
	open_session "$from:5555"
	mapfile -t sizes < <(seq 0 64; seq 65 67 $((mtu - 1)); echo "$mtu")
	# shellcheck disable=SC2046 # words
	ask_once "$from:5555" "$at" $(in_turn "${sizes[@]}") from "udp:$at" many 1000 100 \
		many 200 "$mtu"
	# The first one, and what has an unlucky checksum behind its new port.
	added_up $((${#sizes[@]} + 1201)) $((${#sizes[@]} + 1201)) 6
	# Larger ones come in pieces, which the sockets put together.
	# shellcheck disable=SC2046 # words
	ask_once "$from:5555" "$at" $(in_turn $((mtu + 1)) 2000 5000 65507) many 20 5000 \
		$(in_turn "$mtu")
	added_up $((${#sizes[@]} + 1226)) $((${#sizes[@]} + 1226)) 54
	counted one sessions_opened=1 fast_sessions=1 "xdp_${near}_up-fragment=24"
	sluice_stop one
	grep -qE "^fast path $near: [0-9]+ datagrams forwarded" "$dir/one.out" ||
		fail "no line of $near: $(tail -n 5 "$dir/one.out")"
	grep -qE "^fast path $far: [0-9]+ datagrams forwarded" "$dir/one.out" ||
		fail "no line of $far: $(tail -n 5 "$dir/one.out")"
	is_off
	! is_filtering "$relay" "$far" || fail "there is still a filter on $far"
	peer_kill target
}

# Both ends know each other by the relay's addresses.
addresses() { # FAMILY
	local line seen=
	forwarding "$1" names
	ask "$from:5555" "$at" text x print from "udp:$at" >"$dir/answers.out"
	reaches one fast_sessions 1
	ask "$from:5555" "$at" text x print from "udp:$at" text x print from "udp:$at" \
		>>"$dir/answers.out"
	while read -r line; do
		[[ $line == "udp:$target udp:$via:"* && (-z $seen || $line == "$seen") ]] ||
			fail "the target has seen '$line', before that '$seen'"
		seen=$line
	done <"$dir/answers.out"
	added_up 3 3 4
	peer_kill target
}

# Clients that have the same port, and bytes of their own each.
same_port() { # FAMILY
	local who
	forwarding "$1" echo
	open_session "$from:5555"
	open_session "$from2:5555" 2
	open_session "$from3:5555" 3
	NS=$client peer_start one-client -s 1 -r 1 -f "udp:$from:5555" datagram \
		"udp:$at" many 1000 200
	NS=$client peer_start two-client -s 2 -r 2 -f "udp:$from2:5555" datagram \
		"udp:$at" many 1000 200
	NS=$client peer_start three-client -s 3 -r 3 -f "udp:$from3:5555" datagram \
		"udp:$at" many 1000 200
	for who in one two three; do
		peer_ends "$who-client"
	done
	added_up 3003 3003 16
	counted one sessions_opened=3
	peer_kill target
}

many_clients() { # FAMILY
	local i
	forwarding "$1" echo
	setting "$relay" ipv4.ip_local_port_range "40001 49999"
	for i in {1..40}; do
		# shellcheck disable=SC2046 # words
		NS=$client peer_start "client$i" -s "$i" -r "$i" -f "udp:$from:$((6000 + i))" \
			datagram "udp:$at" send 10 recv 10 say served wait $(paced 100 0 500)
	done
	for i in {1..40}; do
		peer_says "client$i" served
	done
	reaches one fast_sessions 40
	for i in {1..40}; do
		peer_go "client$i"
	done
	for i in {1..40}; do
		peer_ends "client$i"
	done
	added_up 4040 4040 100
	counted one sessions_opened=40 fast_full=0 fast_declined=0
	peer_kill target
}

# Checksums that a device has to finish, which no veth does, and none at all.
checksums() { # FAMILY
	forwarding "$1" echo
	must ip netns exec "$client" ethtool -K out tx on >"$dir/ethtool.log"
	open_session "$from:5555"
	ask_once "$from:5555" "$at" many 100 100
	counters one
	(($(by "$near" forwarded) == 0)) || fail "unfinished checksums are forwarded"
	# The first came before there was a session.
	counted one "xdp_${near}_up-checksum=100" "xdp_${near}_up-session=1"
	added_up 101 101 204
	(($1 == 4)) || return
	must ip -n "$client" link set out address 02:00:00:00:00:00
	must ip -n "$relay" neigh flush all
	ask "$from:5555" "$at" send 100 recv 100
	NS=$client must peer tagged out "$(mac_of "$relay" "$near")" 0 "udp:$from:5555" \
		"udp:$at" 100
	until_fast "$near" forwarded 1 true
	peer_kill target
}

# What may go no further is the relay's own, all the same.
hop_limit() { # FAMILY
	forwarding "$1" echo
	open_session "$from:5555"
	setting "$client" ipv4.ip_default_ttl 1
	setting "$client" ipv6.conf.out.hop_limit 1
	ask_once "$from:5555" "$at" many 50 100
	counted one "xdp_${near}_up-hop-limit=50"
	setting "$client" ipv4.ip_default_ttl 2
	setting "$client" ipv6.conf.out.hop_limit 2
	ask_once "$from:5555" "$at" many 50 100
	counted one "xdp_${near}_up-hop-limit=50"
	added_up 101 101 56
	peer_kill target
}

rules_first() { # FAMILY
	rules "drop from 10.71.0.2" "drop from fd71::2" "drop length 1000-1100"
	forwarding "$1" echo --xdp-rules "$dir/rules"
	open_session "$from:5555"
	ask "$from:5555" "$at" many 100 100
	ask "$from2:5555" "$at" send 100 send 100 is-silent 50
	ask "$from:5555" "$at" send 1050 is-silent 50
	filtered drop=3 "drop prefix=2" "drop length=1"
	added_up 101 101 6
	# Rules of the clients that come later are for sessions that were there before.
	rules "drop from ${from//[\[\]]/}"
	control rules "$dir/rules"
	ask "$from:5555" "$at" send 100 is-silent 50
	control del drop from "${from//[\[\]]/}"
	ask_once "$from:5555" "$at" many 100 100
	added_up 201 201 8
	counted one sessions_opened=1
	peer_kill target
}

# Listeners of both families, and targets of both in turn: sessions of one family are forwarded.
mixed_families() {
	local i
	chain
	NS=$upstream peer_serve target4 names udp:10.72.0.1:7001
	NS=$upstream peer_serve target6 names "udp:[fd72::1]:7001"
	NS=$relay sluice_start one relay -w 1 -l udp:10.71.0.9:7007 -l "udp:[fd71::9]:7007" \
		-t udp:10.72.0.1:7001 -t "udp:[fd72::1]:7001" \
		--xdp "$near" --xdp "$far" "${fast[@]}"
	served_by one 1 "xdp:$near,$far"
	served_by one 2 "xdp:$near,$far"
	for i in 1 2 3 4; do
		for at in 10.71.0.9:7007 "[fd71::9]:7007"; do
			# shellcheck disable=SC2046 # words
			NS=$client must peer datagram "udp:$at" \
				$(printf 'text x print %.0s' {1..20}) >>"$dir/answers.out"
		done
	done
	(($(grep -c '^udp:10.72.0.1:7001 udp:10.72.0.9:' "$dir/answers.out") == 80)) ||
		fail "not half of them were answered by the target of IPv4"
	(($(grep -c '^udp:\[fd72::1\]:7001 udp:\[fd72::9\]:' "$dir/answers.out") == 80)) ||
		fail "not half of them were answered by the target of IPv6"
	counters one
	((count[sessions_opened] == 8 && count[fast_sessions] + count[fast_declined] == 8)) ||
		fail "${count[fast_sessions]} in the driver, ${count[fast_declined]} not"
	((count[fast_sessions] > 0 || count[fast_declined] == 8)) || fail "no session"
	added_up 160 160 320
	peer_kill target4
	peer_kill target6
}

# No listener has a target of its family.
other_family() {
	chain
	NS=$upstream peer_serve target echo "udp:[fd72::1]:7001"
	NS=$relay sluice_start one relay -l udp:10.71.0.9:7007 -t "udp:[fd72::1]:7001" \
		--xdp "$near" --xdp "$far" "${fast[@]}"
	served_by one 1 off
	told one udp:10.71.0.9:7007 "no UDP listener has a target of its own address family"
	ask 10.71.0.1:5555 10.71.0.9:7007 many 100 100
	counted one dgrams_in=200 fast_sessions=0
	peer_kill target
}

# ---- sessions ----

# Another port is another client. The same one is the same, until its session has ended.
restarts() { # FAMILY
	local i
	forwarding "$1" names --idle-timeout 2s
	for i in 1 2; do
		ask "$from:5555" "$at" text x print
		reaches one fast_sessions 1
		source_port 2
	done >"$dir/first.out"
	(($(sort -u "$dir/first.out" | wc -l) == 1)) || fail "the same client has two sessions"
	ask "$from:5556" "$at" text x print >"$dir/second.out"
	! grep -qxFf "$dir/first.out" "$dir/second.out" || fail "two clients share a session"
	reaches one fast_sessions 2
	reaches one sessions_closed 2 10
	source_port 3
	ask "$from:5555" "$at" text x print >"$dir/third.out"
	reaches one fast_sessions 3
	ask "$from:5555" "$at" text x print >>"$dir/third.out"
	! grep -qxFf "$dir/first.out" "$dir/third.out" || fail "the session was not a new one"
	(($(sort -u "$dir/third.out" | wc -l) == 1)) || fail "the new session has two ends"
	counters one
	(($(by "$near" forwarded) >= 1)) || fail "nothing was forwarded"
	peer_kill target
}

# Traffic that the server never sees keeps a session, and its end ends it.
kept_alive() { # FAMILY
	forwarding "$1" echo --idle-timeout 2s
	open_session "$from:5555"
	counters one
	# shellcheck disable=SC2046 # words
	ask "$from:5555" "$at" $(paced 20 250)
	counted one sessions_opened=1 sessions_closed=0
	((count[dgrams_in] <= 4)) || fail "the sockets have seen ${count[dgrams_in]}"
	reaches one sessions_closed 1 10
	added_up 21 21 4
	peer_kill target
}

# Likewise of one direction alone.
one_way() { # FAMILY to-target|to-client
	local source
	forwarding "$1" names --idle-timeout 2s
	ask "$from:5555" "$at" text x print >"$dir/source.out"
	reaches one fast_sessions 1
	source=$(cut -d ' ' -f 2 "$dir/source.out")
	peer_kill target
	# Whoever has the address and never answers.
	if [[ $2 == to-target ]]; then
		NS=$upstream peer_start sink -f "udp:$target" datagram "$source" say here wait
		peer_says sink here
		# shellcheck disable=SC2046 # words
		ask "$from:5555" "$at" $(printf 'send 100 pause 250 %.0s' {1..16})
	else
		NS=$client peer_start sink -f "udp:$from:5555" datagram "udp:$at" say here wait
		peer_says sink here
		# shellcheck disable=SC2046 # words
		NS=$upstream must peer -f "udp:$target" datagram "$source" \
			$(printf 'send 100 pause 250 %.0s' {1..16})
	fi
	counted one sessions_opened=1 sessions_closed=0 drop_icmp=0
	((count[dgrams_in] <= 4)) || fail "the sockets have seen ${count[dgrams_in]}"
	reaches one sessions_closed 1 10
	peer_go sink
	peer_ends sink
}

# Who finds no room in the driver is served by the sockets, and there is room again afterwards.
no_room() { # FAMILY
	local port=6000
	forwarding "$1" echo --fast-sessions 1 --idle-timeout 2s
	open_session "$from:5555"
	source_port 2
	ask "$from2:5555" "$at" send 100 recv 100
	reaches one fast_full 1
	setting "$relay" ipv4.ip_local_port_range "40003 49999"
	ask_once "$from2:5555" "$at" many 50 100
	ask_once "$from:5555" "$at" many 50 100
	added_up 102 102 106
	counted one fast_full=1 fast_sessions=1 sessions_opened=2
	(($(by "$near" forwarded) == 50)) || fail "$(by "$near" forwarded) forwarded"
	reaches one sessions_closed 1 10
	wait_until 15 finds_room || fail "there is no room for a third one"
	peer_kill target
}

finds_room() {
	ask "$from3:$((++port))" "$at" send 100 recv 100
	count_has_reached one fast_sessions 2
}

# Nobody listens there for a while: the kernel tells the relay's socket of what others have sent.
target_restarts() { # FAMILY
	local forwarded
	forwarding "$1" echo
	open_session "$from:5555"
	ask "$from:5555" "$at" many 50 100
	peer_kill target
	until_icmp 1
	counters one
	forwarded=$(by "$near" forwarded)
	((forwarded > 0)) || fail "nothing was forwarded"
	NS=$upstream peer_serve again echo "udp:$target"
	ask_once "$from:5555" "$at" many 50 100
	counters one
	(($(by "$near" forwarded) >= forwarded + 49)) || fail "no longer forwarded"
	counted one sessions_opened=1
	peer_kill again
}

# Asks until so many ICMP errors have come; the host that sends them limits how often.
until_icmp() { # N
	wait_until 10 has_icmp "$1" || fail "no ICMP error was counted"
}

has_icmp() {
	ask "$from:5555" "$at" send 100
	count_has_reached one drop_icmp "$1"
}

# Clients that have gone: errors of what was sent to them end nothing.
client_gone() { # FAMILY
	local source
	forwarding "$1" names
	ask "$from:5555" "$at" text x print >"$dir/source.out"
	reaches one fast_sessions 1
	source=$(cut -d ' ' -f 2 "$dir/source.out")
	peer_kill target
	# shellcheck disable=SC2046 # words
	NS=$upstream must peer -f "udp:$target" datagram "$source" $(printf 'send 100 %.0s' {1..20})
	NS=$upstream peer_serve again echo "udp:$target"
	ask_once "$from:5555" "$at" many 50 100
	counted one sessions_opened=1
	peer_kill again
}

# ---- the server ----

# A session that is busy goes on after SIGTERM, until it is quiet.
draining() { # FAMILY
	local before
	forwarding "$1" echo --drain-timeout 20s
	open_session "$from:5555"
	# shellcheck disable=SC2046 # words
	NS=$client peer_start busy -f "udp:$from:5555" datagram "udp:$at" $(paced 20 10) \
		say started $(paced 200 10) say over wait
	peer_says busy started
	sluice_signal one TERM
	counters one
	before=$(by "$near" forwarded)
	peer_says busy over
	sluice_stopped one 10
	peer_go busy
	peer_ends busy
	grep -qE "^fast path $near: 2[0-9]{2} datagrams forwarded" "$dir/one.out" ||
		fail "$before before: $(grep "^fast path" "$dir/one.out")"
	is_off
	! is_filtering "$relay" "$far" || fail "there is still a filter on $far"
	peer_kill target
}

killed() { # FAMILY
	forwarding "$1" echo
	open_session "$from:5555"
	ask "$from:5555" "$at" many 50 100
	sluice_kill one
	is_off
	! is_filtering "$relay" "$far" || fail "there is still a filter on $far"
	ask "$from:5555" "$at" send 100 is-silent 50
	start_relay
	open_session "$from:5555"
	ask_once "$from:5555" "$at" many 50 100
	added_up 51 51 6
	peer_kill target
}

# Without the setting that lets programs look routes up.
no_forwarding() { # FAMILY
	local status name=ipv4
	chain
	family "$1"
	(($1 == 4)) || name=ipv6
	setting "$relay" "$name.conf.lo.forwarding" 0
	NS=$upstream peer_serve target echo "udp:$target"
	NS=$relay sluice_start one relay -l "udp:$at" -t "udp:$target" --xdp "$near" --xdp "$far"
	served_by one 1 off
	told one "udp:$at" "the kernel looks routes up for it only with \
net.$name.conf.lo.forwarding=1"
	ask_once "$from:5555" "$at" many 50 100
	counted one dgrams_in=100 fast_sessions=0
	sluice_stop one
	NS=$relay sluice_launch bad relay -l "udp:$at" -t "udp:$target" --xdp "$near" --xdp "$far" \
		--fast-path on
	ends bad 10
	((status == 1)) || fail "status $status with --fast-path on"
	grep -qF "net.$name.conf.lo.forwarding=1" "$dir/bad.err" ||
		fail "no remedy: $(<"$dir/bad.err")"
	! grep -q ready "$dir/bad.out" || fail "it was ready before"
	is_off
	# Taken away while the relay runs: the sockets take over, until it is back.
	setting "$relay" "$name.conf.lo.forwarding" 1
	start_relay
	open_session "$from:5555"
	ask "$from:5555" "$at" many 50 100
	setting "$relay" "$name.conf.lo.forwarding" 0
	until_more "$near" up-forwarding ask "$from:5555" "$at" send 100 recv 100
	setting "$relay" "$name.conf.lo.forwarding" 1
	until_more "$near" forwarded ask "$from:5555" "$at" send 100 recv 100
	peer_kill target
}

off() {
	chain
	family 4
	NS=$upstream peer_serve target echo "udp:$target"
	NS=$relay sluice_start one relay -l "udp:$at" -t "udp:$target" --xdp "$near" --xdp "$far" \
		--fast-path off
	served_by one 1 off
	told one "udp:$at" "--fast-path off"
	ask_once "$from:5555" "$at" many 50 100
	counted one dgrams_in=100 dgrams_out=100 fast_sessions=0 fast_declined=0
	peer_kill target
}

# Behind the driver it is taken only when asked for.
generic() { # FAMILY
	chain
	family "$1"
	NS=$upstream peer_serve target echo "udp:$target"
	NS=$relay sluice_start one relay -l "udp:$at" -t "udp:$target" --xdp "$near" --xdp "$far" \
		--xdp-mode generic
	served_by one 1 off
	grep -q "udp:.* no fast path: .* has the filter in generic mode" "$dir/one.err" ||
		fail "the log does not tell why: $(<"$dir/one.err")"
	ask_once "$from:5555" "$at" many 50 100
	counted one dgrams_in=100
	sluice_stop one
	fast=(--fast-path on)
	start_relay --xdp-mode generic
	open_session "$from:5555"
	# shellcheck disable=SC2046 # words
	ask_once "$from:5555" "$at" many 500 100 many 100 "$mtu" $(in_turn 0 1 2 3)
	added_up 605 605 6
	ask_once "$from:5555" "$at" many 10 5000
	peer_kill target
}

families "every size" every_size
families "addresses" addresses
families "clients of the same port" same_port
families "40 clients" many_clients
families "checksums" checksums
families "hop limit" hop_limit
families "rules first" rules_first
once "targets of both families" mixed_families
once "a target of the other family" other_family
families "clients restart" restarts
families "a session kept alive in the driver" kept_alive
families "a session kept alive to the target" one_way to-target
families "a session kept alive to the client" one_way to-client
families "no room" no_room
families "a target restarts" target_restarts
families "a client has gone" client_gone
families "SIGTERM while busy" draining
families "SIGKILL" killed
families "no forwarding" no_forwarding
once "off" off
families "generic mode" generic
main "$@"
