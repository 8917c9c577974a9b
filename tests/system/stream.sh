#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Streams: every byte, in order, once, both ways at once; ends and resets; addresses of all kinds.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# Small, and beyond what sockets, buffers and watermarks hold.
sizes="1 1460 65537 3000000 40000000"

# What a listener's address asks for, by kind.
listen_on() { # KIND WHO: sets at
	case $1 in
	tcp) at=tcp:127.0.0.1:0 ;;
	tcp6) at="tcp:[::1]:0" ;;
	unix) at=unix:$dir/$2.sock ;;
	esac
}

echo_data() { # KIND
	local at size
	listen_on "$1" one
	sluice_start one echo -l "$at"
	at=$(address one)
	for size in $sizes; do
		must peer connect "$at" swap "$size" shut eof
	done
	must peer -n 50 connect "$at" swap 100000 swap 1 swap 77777 shut eof
	reaches one conns_closed 55
	counted one conns_accepted=55 bytes_in="${count[bytes_out]}" err_conn_reset=0
}

# All bytes are read, also those that come with the end of stream.
discard_data() { # KIND
	local at
	listen_on "$1" one
	sluice_start one discard -l "$at"
	at=$(address one)
	must peer connect "$at" send 40000000 shut eof
	must peer -n 50 connect "$at" send 100000 shut eof
	must peer connect "$at" send 1000 is-silent 100 shut eof
	reaches one conns_closed 52
	counted one bytes_in=45001000 bytes_out=0 err_conn_reset=0
}

relay_data() { # KIND UPSTREAM-KIND
	local at size
	listen_on "$2" upstream
	for size in $sizes; do
		rm -f "$dir"/upstream.*
		peer_serve upstream -s 2 listen "$at" swap "$size" shut eof
		listen_on "$1" "one-$size"
		sluice_start one relay -l "$at" -t "$(address upstream)"
		must peer -r 2 connect "$(address one)" swap "$size" shut eof
		peer_ends upstream
		reaches one conns_closed 1
		counted one bytes_in=$((2 * size)) bytes_out=$((2 * size)) err_conn_reset=0
		sluice_stop one
		listen_on "$2" upstream
	done
}

relay_many() {
	peer_serve upstream -n 200 -s 2 listen tcp:127.0.0.1:0 \
		swap 100000 swap 1 swap 77777 shut eof
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	must peer -n 200 -r 2 connect "$(address one)" swap 100000 swap 1 swap 77777 shut eof
	peer_ends upstream
	reaches one conns_closed 200
	counted one err_conn_reset=0 err_no_upstream=0
}

several_listeners() {
	sluice_start one echo -l tcp:127.0.0.1:0 -l "tcp:[::1]:0" -l "unix:$dir/one.sock" \
		-l tcp:localhost:0
	must peer connect "$(address one 1)" swap 1000 shut eof
	must peer connect "$(address one 2)" swap 1000 shut eof
	must peer connect "$(address one 3)" swap 1000 shut eof
	must peer connect "$(address one 4)" swap 1000 shut eof
}

# One byte at a time, there and back: nothing waits for more to come.
ping_pong() {
	local now started
	# shellcheck disable=SC2046 # words
	peer_serve upstream -s 2 listen tcp:127.0.0.1:0 $(printf 'recv 1 send 1 %.0s' {1..200})
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	now_ms
	started=$now
	# shellcheck disable=SC2046 # words
	must peer -r 2 connect "$(address one)" $(printf 'send 1 recv 1 %.0s' {1..200})
	now_ms
	# Each delayed acknowledgement would be 40 ms.
	((now - started < 2000)) || fail "200 round trips took $((now - started)) ms"
	peer_ends upstream
}

empty_connections() {
	sluice_start echo echo -l tcp:127.0.0.1:0
	sluice_start discard discard -l tcp:127.0.0.1:0
	peer_serve upstream -x 3 listen tcp:127.0.0.1:0 is-gone
	sluice_start relay relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	for who in echo discard relay; do
		must peer connect "$(address $who)" shut eof
		must peer connect "$(address $who)" close
		must peer connect "$(address $who)" reset
		reaches $who conns_closed 3
		counted $who conns_accepted=3 bytes_in=0 bytes_out=0
	done
	peer_ends upstream
}

# A reader that stops until the sender is stopped as well, and then goes on: again and again.
stop_and_go() { # COMMAND
	local who=one round rounds=()
	for round in 1 2 3 4 5; do
		rounds+=(fill 500000000 $((round * 60)) recv-sent)
	done
	sluice_start one echo -w 1 -l tcp:127.0.0.1:0 -l "unix:$dir/one.sock"
	if [[ $1 == relay ]]; then
		who=relay
		sluice_start relay relay -w 1 -l tcp:127.0.0.1:0 -l "unix:$dir/relay.sock" \
			-t "$(address one)" -t "$(address one 2)"
	fi
	must peer connect "$(address $who)" "${rounds[@]}" shut eof >"$dir/filled"
	must peer connect "$(address $who)" "${rounds[@]}" shut eof >"$dir/filled"
	must peer connect "$(address $who 2)" "${rounds[@]}" shut eof >"$dir/filled"
	must peer connect "$(address $who 2)" "${rounds[@]}" shut eof >"$dir/filled"
	reaches $who conns_closed 4
	counted $who err_conn_reset=0
}

# TCP's urgent byte is not one of the stream's; it must not disturb it.
urgent() {
	sluice_start one echo -w 1 -l tcp:127.0.0.1:0
	sluice_start two relay -w 1 -l tcp:127.0.0.1:0 -t "$(address one)"
	for who in one two; do
		must peer connect "$(address $who)" swap 1000 urgent swap 1000 urgent urgent \
			swap 100000 shut eof
	done
	peer_start client connect "$(address one)" urgent say urgent wait swap 10
	peer_says client urgent
	cpu_ms "${pid_of[one]}"
	before=$cpu_ms
	must peer connect "$(address one)" is-silent 500
	cpu_ms "${pid_of[one]}"
	((cpu_ms - before < 100)) || fail "$((cpu_ms - before)) ms of CPU in half a second of rest"
	peer_go client
	peer_ends client
}

# ---- half-close ----

# The client ends its direction before it has read anything; more than buffers hold comes back.
half_close_echo() {
	local n
	sluice_start one echo -l tcp:127.0.0.1:0 -l "unix:$dir/one.sock"
	for n in 1 2; do
		must peer connect "$(address one $n)" send 100000 shut recv 100000 eof
		must peer connect "$(address one $n)" fill 500000000 300 shut recv-sent eof
	done >"$dir/filled"
	reaches one conns_closed 4
	counted one err_conn_reset=0
}

# The client's direction ends, upstream sees the end at once, and then sends.
half_close_client_first() {
	local kind
	for kind in tcp unix; do
		listen_on $kind upstream
		rm -f "$dir"/upstream.*
		peer_serve upstream -s 2 listen "$at" recv 1000000 eof send 30000000 shut
		sluice_start one-$kind relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
		must peer -r 2 connect "$(address one-$kind)" send 1000000 shut recv 30000000 eof
		peer_ends upstream
		counted one-$kind err_conn_reset=0
	done
}

# Upstream's direction ends, the client sees the end at once, and then sends.
half_close_upstream_first() {
	local kind
	for kind in tcp unix; do
		listen_on $kind upstream
		rm -f "$dir"/upstream.*
		peer_serve upstream -s 2 listen "$at" send 1000000 shut recv 30000000 eof
		sluice_start one-$kind relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
		must peer -r 2 connect "$(address one-$kind)" recv 1000000 eof send 30000000 shut
		peer_ends upstream
		counted one-$kind err_conn_reset=0
	done
}

# The end comes while the other side does not read: all that was sent before it arrives.
half_close_stalled() { # client | upstream
	if [[ $1 == client ]]; then
		peer_serve upstream -r 1 -s 2 listen tcp:127.0.0.1:0 \
			wait recv 8000000 eof send 1000 shut
		sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
		peer_start client -s 1 -r 2 connect "$(address one)" send 8000000 shut recv 1000 eof
		reaches one bytes_in 100000
		peer_go upstream
	else
		peer_serve upstream -r 1 -s 2 listen tcp:127.0.0.1:0 send 8000000 shut recv 1000 eof
		sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
		peer_start client -s 1 -r 2 connect "$(address one)" \
			wait recv 8000000 eof send 1000 shut
		reaches one bytes_in 100000
		peer_go client
	fi
	peer_ends client
	peer_ends upstream
	counted one err_conn_reset=0
}

# ---- resets ----

promptly() { # WHO: it has ended, within a second
	local now started
	now_ms
	started=$now
	peer_ends "$1" 5
	now_ms
	((now - started < 1000)) || fail "$1 knew after $((now - started)) ms"
}

reset_by_client() {
	peer_serve upstream listen tcp:127.0.0.1:0 recv 10 say got is-reset
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	peer_start client connect "$(address one)" send 10 wait reset
	peer_says upstream got
	peer_go client
	promptly upstream
	reaches one conns_closed 1
	counted one err_conn_reset=1
}

reset_by_upstream() {
	peer_serve upstream listen tcp:127.0.0.1:0 recv 10 wait reset
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	peer_start client connect "$(address one)" send 10 say sent is-reset
	peer_says client sent
	reaches one bytes_out 10
	peer_go upstream
	promptly client
	reaches one conns_closed 1
	counted one err_conn_reset=1
}

# The side that resets has been stopped by the other, which does not read: nothing is received from
# it any more, and its reset has to be noticed all the same.
reset_while_stopped() { # client | upstream
	local there=upstream here=client
	if [[ $1 == client ]]; then
		peer_serve upstream listen tcp:127.0.0.1:0 say open wait is-reset
		sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
		peer_start client connect "$(address one)" fill 500000000 300 wait reset
	else
		there=client here=upstream
		peer_serve upstream listen tcp:127.0.0.1:0 fill 500000000 300 wait reset
		sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
		peer_start client connect "$(address one)" say open wait is-reset
	fi
	peer_says "$here" filled
	peer_says "$there" open
	peer_go "$here"
	peer_ends "$here"
	reaches one conns_closed 1 2
	peer_go "$there"
	promptly "$there"
	counted one err_conn_reset=1
}

# Echo: the client neither reads nor lives on.
reset_echo() {
	sluice_start one echo -l tcp:127.0.0.1:0
	must peer connect "$(address one)" fill 500000000 300 reset >"$dir/filled"
	reaches one conns_closed 1 2
	counted one err_conn_reset=1
}

for kind in tcp tcp6 unix; do
	each "echo over $kind" echo_data $kind
	each "discard over $kind" discard_data $kind
done
each "relay tcp to tcp" relay_data tcp tcp
each "relay tcp to tcp over IPv6" relay_data tcp6 tcp6
each "relay tcp to unix" relay_data tcp unix
each "relay unix to tcp" relay_data unix tcp
each "relay unix to unix" relay_data unix unix
each "relay 200 connections" relay_many
each "several listeners" several_listeners
each "one byte at a time" ping_pong
each "empty connections" empty_connections
each "relay IPv6 to IPv4" relay_data tcp6 tcp
each "urgent bytes" urgent
each "stop and go, echo" stop_and_go echo
each "stop and go, relay" stop_and_go relay
each "half-close in echo" half_close_echo
each "half-close client first" half_close_client_first
each "half-close upstream first" half_close_upstream_first
each "half-close client first, upstream stalled" half_close_stalled client
each "half-close upstream first, client stalled" half_close_stalled upstream
each "reset by the client" reset_by_client
each "reset by upstream" reset_by_upstream
each "reset by a stopped client" reset_while_stopped client
each "reset by a stopped upstream" reset_while_stopped upstream
each "reset of a stopped echo" reset_echo
main "$@"
