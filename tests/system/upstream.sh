#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A relay and its targets: in turn, refusing, silent, dying.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# A server that sends its own name to everybody.
named() { # NAME...
	local name
	for name; do
		peer_serve "$name" -x 0 listen tcp:127.0.0.1:0 text "$name" shut eof
	done
}

# Who answers the next connection to the relay, in `who`.
ask() {
	who=$(peer connect "$(address one)" print shut 2>"$dir/ask.err") ||
		fail "$(tail -n 1 "$dir/ask.err")"
}

round_robin() {
	local who i answers=
	named a b c
	sluice_start one relay -w 1 -l tcp:127.0.0.1:0 -t "$(address a)" -t "$(address b)" \
		-t "$(address c)"
	for i in 1 2 3 4 5 6 7 8 9; do
		ask
		answers+=$who
	done
	[[ abcabcabcabc == *$answers* ]] || fail "answers came from $answers"
}

# Each worker goes round by itself: over many connections all targets get some.
round_robin_workers() {
	local who i answers=
	named a b
	sluice_start one relay -w 2 -l tcp:127.0.0.1:0 -t "$(address a)" -t "$(address b)"
	for i in {1..20}; do
		ask
		answers+=$who
	done
	[[ $answers == *a*a*a*a*a* && $answers == *b*b*b*b*b* ]] ||
		fail "answers came from $answers"
}

next_target() {
	local who answers=
	peer_serve dead refuse tcp:127.0.0.1:0
	named a b
	sluice_start one relay -w 1 -l tcp:127.0.0.1:0 -t "$(address dead)" -t "$(address a)" \
		-t "unix:$dir/nobody.sock" -t "$(address b)"
	for _ in 1 2 3 4 5 6 7 8; do
		ask
		answers+=$who
	done
	[[ $answers == *a*a* && $answers == *b*b* ]] || fail "answers came from $answers"
	counters one
	((count[err_connect_refused] >= 2)) || fail "refusals were not counted"
	((count[err_connect_other] >= 2)) || fail "a missing unix socket was not counted"
	counted one err_no_upstream=0 err_conn_reset=0
}

no_target() {
	local now started
	peer_serve dead refuse tcp:127.0.0.1:0
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address dead)" -t "unix:$dir/nobody.sock"
	now_ms
	started=$now
	must peer -T 5 connect "$(address one)" is-reset
	now_ms
	((now - started < 1000)) || fail "the reset took $((now - started)) ms"
	must peer -T 5 -n 100 connect "$(address one)" is-reset
	reaches one err_no_upstream 101
	counted one err_connect_refused=101 err_connect_other=101 conns_closed=101 err_conn_reset=0
}

# An upstream that neither takes nor refuses connections.
connect_timeout() {
	local now started who
	peer_serve silent full tcp:127.0.0.1:0
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address silent)" --connect-timeout 700ms
	now_ms
	started=$now
	must peer -T 5 connect "$(address one)" send 10 is-reset
	now_ms
	((now - started >= 650)) || fail "it gave up after $((now - started)) ms already"
	((now - started < 2000)) || fail "it gave up only after $((now - started)) ms"
	reaches one err_no_upstream 1
	counted one err_connect_timeout=1 conns_closed=1
	sluice_stop one
	named a
	sluice_start one relay -w 1 -l tcp:127.0.0.1:0 -t "$(address silent)" -t "$(address a)" \
		--connect-timeout 300ms
	ask
	[[ $who == a ]] || fail "the answer came from '$who'"
	counted one err_connect_timeout=1 err_no_upstream=0
}

# A unix socket whose backlog is full would block; it must not hold up the relay.
connect_unix_full() {
	local who
	peer_serve silent full "unix:$dir/silent.sock"
	named a
	sluice_start one relay -w 1 -l tcp:127.0.0.1:0 -t "$(address silent)" -t "$(address a)" \
		--connect-timeout 500ms
	ask
	[[ $who == a ]] || fail "the answer came from '$who'"
	counted one err_no_upstream=0 conns_accepted=1
}

# Nobody answers at all, as behind a firewall that drops: in a namespace whose cable ends nowhere.
connect_blackhole() {
	netns here there
	cable "$here" to-there "10.77.0.1/24" "$there" to-here ""
	must ip -n "$here" neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev to-there
	NS=$here sluice_start one relay -l tcp:127.0.0.1:0 -t tcp:10.77.0.9:7 \
		--connect-timeout 500ms
	NS=$here must peer -T 5 connect "$(address one)" is-reset
	reaches one err_no_upstream 1
	counted one err_connect_timeout=1
}

no_route() {
	netns here
	NS=$here sluice_start one relay -l tcp:127.0.0.1:0 -t tcp:192.0.2.1:7
	NS=$here must peer -T 5 connect "$(address one)" is-reset
	reaches one err_no_upstream 1
	counted one err_connect_other=1
}

# The client leaves while its upstream is being tried.
client_leaves_early() {
	peer_serve silent full tcp:127.0.0.1:0
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address silent)" --connect-timeout 500ms
	must peer connect "$(address one)" reset
	must peer connect "$(address one)" send 1000 close
	reaches one conns_closed 2
}

# Bytes that the client sent while upstream was being tried arrive there.
early_bytes() {
	peer_serve silent full tcp:127.0.0.1:0
	peer_serve upstream listen tcp:127.0.0.1:0 recv 300000 eof send 10 shut
	sluice_start one relay -w 1 -l tcp:127.0.0.1:0 -t "$(address silent)" \
		-t "$(address upstream)" --connect-timeout 500ms
	must peer connect "$(address one)" send 300000 shut recv 10 eof
	peer_ends upstream
}

# kill -9 of upstream: the client gets the end, or a reset when bytes were lost with it.
upstream_killed() { # ANSWER ACTION...
	local now started answer=$1
	shift
	peer_serve upstream listen tcp:127.0.0.1:0 "$@"
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	peer_start client connect "$(address one)" send 1000 say sent "$answer"
	peer_start idle connect "$(address one)" say sent wait
	peer_says client sent
	peer_says upstream got
	reaches one bytes_out 1000
	now_ms
	started=$now
	peer_kill upstream
	peer_ends client 5
	now_ms
	((now - started < 1000)) || fail "the client knew after $((now - started)) ms"
	# The relay lives on, and tells whoever comes that nobody is there.
	must peer -T 5 connect "$(address one)" is-reset
	peer_kill idle
}

# Upstream dies in the middle of a transfer both ways.
upstream_killed_busy() {
	peer_serve upstream -s 2 listen tcp:127.0.0.1:0 swap 100000000000
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	peer_start client -r 2 connect "$(address one)" swap 100000000000
	reaches one bytes_out 100000000
	peer_kill upstream
	wait_until 3 is_gone "${pid_of[client]}" || fail "the client went on"
	grep -q 'reset\|pipe\|ended' "$dir/client.err" || fail "$(tail -n 1 "$dir/client.err")"
	unset "pid_of[client]"
	reaches one conns_closed 1
}

# ---- idle timeout ----

idle_timeout() { # COMMAND
	local now started to=()
	if [[ $1 == relay ]]; then
		peer_serve upstream -x 0 listen tcp:127.0.0.1:0 is-gone
		to=(-t "$(address upstream)")
	fi
	sluice_start one "$1" -l tcp:127.0.0.1:0 "${to[@]}" --idle-timeout 800ms
	now_ms
	started=$now
	must peer -T 5 connect "$(address one)" send 10 is-gone
	now_ms
	((now - started >= 750)) || fail "closed after $((now - started)) ms already"
	((now - started < 2500)) || fail "closed only after $((now - started)) ms"
	reaches one err_idle_timeout 1
	counted one conns_closed=1
}

# Bytes one way keep a connection alive; when they stop, it ends.
idle_timeout_moved() {
	peer_serve upstream listen tcp:127.0.0.1:0 recv 6 is-gone
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)" --idle-timeout 800ms
	# shellcheck disable=SC2046 # words
	must peer -T 10 connect "$(address one)" $(printf 'send 1 pause 300 %.0s' {1..6}) \
		say alive is-gone >"$dir/client.out"
	peer_ends upstream
	reaches one err_idle_timeout 1
	counted one bytes_out=6
}

each "targets in turn" round_robin
each "targets in turn, two workers" round_robin_workers
each "next target when one refuses" next_target
each "reset when no target answers" no_target
each "connect timeout" connect_timeout
each "connect timeout, packets dropped" connect_blackhole
each "no route to the target" no_route
each "target with a full unix backlog" connect_unix_full
each "client leaves before upstream answers" client_leaves_early
each "bytes sent before upstream answers" early_bytes
each "upstream killed" upstream_killed eof recv 1000 say got wait
each "upstream killed with unread bytes" upstream_killed is-reset say got wait
each "upstream killed in a transfer" upstream_killed_busy
each "idle timeout in echo" idle_timeout echo
each "idle timeout in discard" idle_timeout discard
each "idle timeout in relay" idle_timeout relay
each "idle timeout moved by bytes" idle_timeout_moved
main "$@"
