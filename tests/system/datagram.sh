#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Datagrams: sizes, addresses, sessions, and what must not be answered.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

sizes="0 1 1472 1473 65507"

any_port() { # FAMILY: an address on loopback, in at
	[[ $1 == 4 ]] && at=udp:127.0.0.1:0 || at="udp:[::1]:0"
}

# WHO has received and sent so many in all, and dropped none.
summed() { # WHO IN OUT
	sluice_stop "$1"
	grep -q "^datagrams: $2 in, $3 out" "$dir/$1.out" ||
		fail "instead of $2 in, $3 out: $(grep '^datagrams: ' "$dir/$1.out")"
	grep -q '^errors: 0; dropped datagrams: 0$' "$dir/$1.out" ||
		fail "$(tail -n 1 "$dir/$1.out")"
}

# A datagram of each size there and back, and many of the middle ones.
exchange() { # ADDRESS
	local size actions=()
	for size in $sizes; do
		actions+=(send "$size" recv "$size" from "$1")
	done
	must peer datagram "$1" "${actions[@]}" many 2000 1200 many 200 20000 many 1000 0
}

echo_sizes() { # FAMILY
	local at
	any_port "$1"
	sluice_start one echo -l "$at"
	exchange "$(address one)"
	counted one dgrams_in=3205 dgram_bytes_in=6468453
	summed one 3205 3205
}

relay_sizes() { # FAMILY UPSTREAM-FAMILY
	local at
	any_port "$2"
	peer_serve upstream echo "$at"
	any_port "$1"
	sluice_start one relay -l "$at" -t "$(address upstream)"
	exchange "$(address one)"
	counted one dgrams_in=6410 dgram_bytes_in=12936906 sessions_opened=1
	summed one 6410 6410
	peer_kill upstream
}

discard_sizes() {
	local size
	sluice_start one discard -l udp:127.0.0.1:0
	for size in $sizes; do
		must peer datagram "$(address one)" send "$size"
	done
	reaches one dgrams_in 5
	counted one dgram_bytes_in=68453 dgrams_out=0
}

# IPv6 carries a little more than IPv4.
longest() {
	sluice_start one echo -l "udp:[::1]:0"
	must peer datagram "$(address one)" send 65527 recv 65527 send 10 recv 10
	summed one 2 2
}

# Listening everywhere, the answer leaves from the address that was asked.
asked_address() {
	local at port port6
	netns client server
	cable "$client" to-server "10.66.0.1/24 fd66::1/64" \
		"$server" to-client "10.66.0.2/24 10.66.0.3/24 fd66::2/64 fd66::3/64"
	NS=$server sluice_start one echo -l udp:0.0.0.0:0 -l "udp:[::]:0"
	port=$(address one 1)
	port=${port##*:}
	port6=$(address one 2)
	port6=${port6##*:}
	for at in "10.66.0.2:$port" "10.66.0.3:$port" "[fd66::2]:$port6" "[fd66::3]:$port6"; do
		at=udp:$at
		NS=$client must peer datagram "$at" send 100 recv 100 from "$at" \
			many 100 1000 from "$at"
	done
	for at in "udp:127.0.0.9:$port" "udp:10.66.0.3:$port"; do
		NS=$server must peer datagram "$at" send 10 recv 10 from "$at"
	done
}

# An address of the link alone says nothing without the link.
link_local() {
	local port
	netns client server
	cable "$client" to-server "fe80::1/64" "$server" to-client "fe80::2/64"
	NS=$server sluice_start one echo -l "udp:[::]:0"
	NS=$server sluice_start two echo -l "udp:[fe80::2%to-client]:0" \
		-l "tcp:[fe80::2%to-client]:0"
	port=$(port_of 1)
	NS=$client must peer datagram "udp:[fe80::2%to-server]:$port" send 100 recv 100 \
		from "udp:[fe80::2]:$port"
	port=$(address two 1)
	port=${port##*:}
	NS=$client must peer datagram "udp:[fe80::2%to-server]:$port" send 100 recv 100 \
		from "udp:[fe80::2]:$port"
	port=$(address two 2)
	NS=$client must peer connect "tcp:[fe80::2%to-server]:${port##*:}" swap 1000 shut eof
}

# The same through a relay: each address that was asked is a session of its own.
asked_address_relay() {
	local port
	peer_serve upstream echo udp:127.0.0.1:0
	sluice_start one relay -w 1 -l udp:0.0.0.0:0 -t "$(address upstream)"
	port=$(address one)
	port=${port##*:}
	for at in 127.0.0.1 127.0.0.2 127.0.0.3; do
		must peer datagram "udp:$at:$port" send 100 recv 100 from "udp:$at:$port"
	done
	counted one sessions_opened=3
	peer_kill upstream
}

# Each client has an upstream socket of its own, and keeps it.
sessions() {
	local first second
	peer_serve upstream names udp:127.0.0.1:0
	sluice_start one relay -w 2 -l udp:127.0.0.1:0 -t "$(address upstream)"
	peer_start a datagram "$(address one)" text x print say asked wait text y print
	peer_start b datagram "$(address one)" text x print say asked wait text y print
	peer_says a asked
	peer_says b asked
	peer_go a
	peer_go b
	peer_ends a
	peer_ends b
	for who in a b; do
		first=$(sed -n 1p "$dir/$who.out")
		second=$(sed -n 3p "$dir/$who.out")
		[[ $first == "$(address upstream) udp:127.0.0.1:"* && $first == "$second" ]] ||
			fail "$who was sent on as '$first', then as '$second'"
	done
	! cmp -s "$dir/a.out" "$dir/b.out" || fail "two clients share a session: $first"
	counted one sessions_opened=2
	peer_kill upstream
}

sessions_in_turn() {
	local i
	peer_serve a names udp:127.0.0.1:0
	peer_serve b names udp:127.0.0.1:0
	sluice_start one relay -w 1 -l udp:127.0.0.1:0 -t "$(address a)" -t "$(address b)"
	for i in 1 2 3 4 5 6; do
		must peer datagram "$(address one)" text x print
	done >"$dir/answers.out"
	(($(grep -c "^$(address a) " "$dir/answers.out") == 3)) || fail "not half of them went to a"
	(($(grep -c "^$(address b) " "$dir/answers.out") == 3)) || fail "not half of them went to b"
	peer_kill a
	peer_kill b
}

session_timeout() {
	local now started
	peer_serve upstream names udp:127.0.0.1:0
	sluice_start one relay -l udp:127.0.0.1:0 -t "$(address upstream)" --idle-timeout 600ms
	now_ms
	started=$now
	peer_start client datagram "$(address one)" text x print say asked wait text y print
	peer_says client asked
	reaches one sessions_closed 1
	now_ms
	((now - started >= 550)) || fail "closed after $((now - started)) ms already"
	((now - started < 2500)) || fail "closed only after $((now - started)) ms"
	peer_go client
	peer_ends client
	counted one sessions_opened=2
	! [[ $(sed -n 1p "$dir/client.out") == $(sed -n 3p "$dir/client.out") ]] ||
		fail "the session was not a new one"
	# A datagram each time before it is over keeps a session.
	# shellcheck disable=SC2046 # words
	must peer datagram "$(address one)" $(printf 'send 1 pause 300 %.0s' {1..5})
	counted one sessions_opened=3
	peer_kill upstream
}

session_limit() {
	local who
	peer_serve upstream echo udp:127.0.0.1:0
	sluice_start one relay -w 2 -l udp:127.0.0.1:0 -t "$(address upstream)" --max-sessions 3
	for who in a b c; do
		peer_start $who datagram "$(address one)" send 10 recv 10 say served \
			wait send 20 recv 20
		peer_says $who served
	done
	must peer datagram "$(address one)" send 10 send 10 send 10
	reaches one drop_session_limit 3
	counted one sessions_opened=3
	for who in a b c; do
		peer_go $who
		peer_ends $who
	done
	counted one drop_session_limit=3
	# One line at most for all that is dropped.
	(($(wc -l <"$dir/one.err") <= 2)) || fail "it logs what is dropped"
	peer_kill upstream
}

# Nobody listens upstream for a while: counted, and nothing else happens.
unreachable() { # FAMILY
	local at
	any_port "$1"
	peer_serve dead refuse "$at"
	peer_serve upstream echo "$at"
	sluice_start one relay -w 1 -l "$at" -t "$(address dead)" -t "$(address upstream)"
	must peer datagram "$(address one)" send 10 pause 50 send 10 pause 50 send 10 is-silent 100
	reaches one drop_icmp 1
	must peer datagram "$(address one)" send 10 recv 10
	must peer datagram "$(address one)" send 10
	must peer datagram "$(address one)" send 10 recv 10
	counted one sessions_opened=4
	peer_kill upstream
}

# No route: no session can be had, and that is all.
no_route() {
	netns here
	NS=$here sluice_start one relay -l udp:127.0.0.1:0 -t udp:192.0.2.1:7
	NS=$here must peer datagram "$(address one)" send 10 send 10
	reaches one drop_session_failed 1
	NS=$here must peer datagram "$(address one)" send 10
	wait_until 5 count_has_reached one sessions_closed "${count[sessions_opened]}"
	descriptors "${pid_of[one]}" >"$dir/descriptors"
	(($(<"$dir/descriptors") < 40)) || fail "$(<"$dir/descriptors") descriptors"
}

# A session outlives its upstream, and goes on when that is back.
upstream_back() {
	local at
	peer_serve upstream echo udp:127.0.44.1:0
	at=$(address upstream)
	sluice_start one relay -l udp:127.0.0.1:0 -t "$at"
	peer_start client datagram "$(address one)" send 10 recv 10 say served wait \
		send 10 send 10 pause 50 send 10 say sent wait send 20 recv 20
	peer_says client served
	peer_kill upstream
	peer_go client
	peer_says client sent
	reaches one drop_icmp 1
	peer_serve back echo "$at"
	peer_go client
	peer_ends client
	counted one sessions_opened=1
	peer_kill back
}

# Datagrams that would go back and forth for ever, from source ports that only root may use.
reflection() { # FAMILY
	local port at from
	need_root
	any_port "$1"
	from=${at%:*}
	sluice_start one echo -l "$at"
	for port in 7 9 13 17 19; do
		must peer raw "$from:$port" "$(address one)" 100
	done
	reaches one drop_reflection 5
	must peer raw "$(address one)" "$(address one)" 100
	reaches one drop_reflection 6
	must peer raw "$from:0" "$(address one)" 100
	reaches one drop_reflection 7
	counted one dgrams_in=7 dgrams_out=0
	must peer datagram "$(address one)" send 10 recv 10
	(($(wc -l <"$dir/one.err") <= 2)) || fail "it logs what is dropped"
}

# The same through a cable, where nothing is loopback.
reflection_cable() {
	local at at6 port
	netns client server
	cable "$client" to-server "10.66.0.1/24 fd66::1/64" \
		"$server" to-client "10.66.0.2/24 fd66::2/64"
	NS=$server sluice_start one echo -l udp:0.0.0.0:0 -l "udp:[::]:0"
	at=udp:10.66.0.2:$(port_of 1)
	at6="udp:[fd66::2]:$(port_of 2)"
	for port in 7 9 13 17 19; do
		NS=$client must peer -f "udp:10.66.0.1:$port" datagram "$at" send 100
		NS=$client must peer -f "udp:[fd66::1]:$port" datagram "$at6" send 100
	done
	reaches one drop_reflection 10
	# A listener's own address on a wildcard socket.
	NS=$server must peer raw "$at" "$at" 100
	NS=$server must peer raw "$at6" "$at6" 100
	reaches one drop_reflection 12
	counted one dgrams_out=0
	# Another machine's same port is nobody's loop.
	NS=$client must peer -f "udp:10.66.0.1:${at##*:}" datagram "$at" send 10 recv 10
	counted one drop_reflection=12
}

port_of() { # N: of the Nth listener
	local at
	at=$(address one "$1")
	echo "${at##*:}"
}

# One datagram to many must not become many to one.
broadcast() {
	netns client server
	cable "$client" to-server "10.66.0.1/24 fd66::1/64" \
		"$server" to-client "10.66.0.2/24 fd66::2/64"
	NS=$server sluice_start one echo -l udp:0.0.0.0:0 -l "udp:[::]:0"
	NS=$client must peer datagram "udp:10.66.0.255:$(port_of 1)" send 100
	must ip -n "$client" route add 255.255.255.255 dev to-server
	NS=$client must peer datagram "udp:255.255.255.255:$(port_of 1)" send 100
	reaches one drop_reflection 2
	NS=$client must peer datagram "udp:[ff02::1]:$(port_of 2)" send 100
	reaches one drop_reflection 3
	counted one dgrams_out=0
	NS=$client must peer datagram "udp:10.66.0.2:$(port_of 1)" send 10 recv 10
}

# More clients at once than the tables start with.
many_clients() {
	local i
	peer_serve upstream echo udp:127.0.0.1:0
	sluice_start one relay -l udp:127.0.0.1:0 -t "$(address upstream)"
	for i in {1..40}; do
		peer_start "client$i" datagram "$(address one)" many 100 500
	done
	for i in {1..40}; do
		peer_ends "client$i"
	done
	counted one sessions_opened=40 dgrams_in=8000
	summed one 8000 8000
	peer_kill upstream
}

each "echo, IPv4" echo_sizes 4
each "echo, IPv6" echo_sizes 6
each "relay, IPv4" relay_sizes 4 4
each "relay, IPv6" relay_sizes 6 6
each "relay, IPv6 to IPv4" relay_sizes 6 4
each "no route to the target" no_route
each "discard" discard_sizes
each "longest over IPv6" longest
each "answer from the address that was asked" asked_address
each "answer on the link that was asked" link_local
each "the same through relay" asked_address_relay
each "a session for each client" sessions
each "targets in turn" sessions_in_turn
each "session idle timeout" session_timeout
each "--max-sessions" session_limit
each "upstream unreachable, IPv4" unreachable 4
each "upstream unreachable, IPv6" unreachable 6
each "upstream gone and back" upstream_back
each "reflection, IPv4" reflection 4
each "reflection, IPv6" reflection 6
each "reflection through a cable" reflection_cable
each "broadcast and multicast" broadcast
each "40 clients" many_clients
main "$@"
