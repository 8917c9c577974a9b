#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Stopping: what is in flight finishes, what is idle ends, what hangs is cut. And workers.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

refuses() { # ADDRESS
	! peer -T 2 connect "$1" 2>/dev/null
}

# SIGTERM, and until nothing is accepted any more.
start_draining() { # WHO
	sluice_signal "$1" TERM
	wait_until 5 refuses "$(address "$1")" || fail "$1 still accepts after SIGTERM"
}

# A client that has sent a lot and reads only after the signal gets all of it back.
echo_in_flight() {
	sluice_start one echo -l tcp:127.0.0.1:0
	peer_start client connect "$(address one)" fill 500000000 300 wait shut recv-sent eof
	peer_says client filled
	start_draining one
	# Longer than the quiet that ends an idle connection.
	must peer datagram udp:127.0.0.1:9 pause 1000
	peer_go client
	peer_ends client
	sluice_stopped one
	grep -q '^errors: 0' "$dir/one.out" || fail "$(tail -n 1 "$dir/one.out")"
}

# Both ways of a relay, in the middle of a transfer.
relay_in_flight() {
	peer_serve upstream -s 2 listen tcp:127.0.0.1:0 \
		swap 100000 say half wait swap 300000000 shut eof
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)" --drain-timeout 1m
	peer_start client -r 2 connect "$(address one)" swap 100000 say half swap 300000000 shut eof
	peer_says client half
	peer_says upstream half
	peer_go upstream
	reaches one bytes_out 10000000
	sluice_signal one TERM
	peer_ends client
	peer_ends upstream
	sluice_stopped one
	grep -q '^errors: 0' "$dir/one.out" || fail "$(tail -n 1 "$dir/one.out")"
	grep -qx 'bytes: 600200000 in, 600200000 out' "$dir/one.out" ||
		fail "$(grep bytes "$dir/one.out")"
}

# A relayed request whose answer takes a while, with nothing moving in between.
relay_waits_for_answer() {
	peer_serve upstream -s 2 listen tcp:127.0.0.1:0 recv 1000 wait send 5000000 shut eof
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	peer_start client -r 2 connect "$(address one)" send 1000 recv 5000000 eof
	reaches one bytes_out 1000
	start_draining one
	must peer datagram udp:127.0.0.1:9 pause 1000
	peer_go upstream
	peer_ends client
	peer_ends upstream
	sluice_stopped one
	grep -q '^errors: 0' "$dir/one.out" || fail "$(tail -n 1 "$dir/one.out")"
}

# Idle echo connections do not hold up the end.
idle_ends() { # COMMAND
	local now started action=send
	[[ $1 == echo ]] && action=swap
	sluice_start one "$1" -l tcp:127.0.0.1:0 --drain-timeout 1h
	peer_start client -n 50 connect "$(address one)" $action 10 say sent eof
	peer_says client sent
	reaches one bytes_in 500
	now_ms
	started=$now
	sluice_signal one TERM
	sluice_stopped one
	now_ms
	((now - started < 2000)) || fail "it took $((now - started)) ms to end"
	peer_ends client 5
	grep -q '^errors: 0' "$dir/one.out" || fail "$(tail -n 1 "$dir/one.out")"
}

# A relayed connection that does not end is cut at the drain timeout, and counted.
cut() {
	local now started
	peer_serve upstream -n 2 listen tcp:127.0.0.1:0 recv 10 say got is-reset
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)" --drain-timeout 900ms
	peer_start client -n 2 connect "$(address one)" send 10 say sent is-reset
	peer_says upstream got
	now_ms
	started=$now
	sluice_signal one TERM
	sluice_stopped one
	now_ms
	((now - started >= 850)) || fail "it took only $((now - started)) ms to end"
	((now - started < 3000)) || fail "it took $((now - started)) ms to end"
	peer_ends client 5
	peer_ends upstream 5
	grep -q '^errors: 2 (err_drain_cut 2)' "$dir/one.out" || fail "$(tail -n 1 "$dir/one.out")"
	(($(logged one 'drain timeout') >= 1)) || fail "the log does not tell"
}

# A client that never reads must not keep an echo server for ever.
cut_stalled_echo() {
	sluice_start one echo -l tcp:127.0.0.1:0 --drain-timeout 500ms
	peer_start client connect "$(address one)" fill 500000000 300 is-reset
	peer_says client filled
	sluice_signal one TERM
	sluice_stopped one
	peer_ends client 5
	grep -q '^errors: 1 (err_drain_cut 1)' "$dir/one.out" || fail "$(tail -n 1 "$dir/one.out")"
}

no_drain_time() {
	peer_serve upstream listen tcp:127.0.0.1:0 recv 10 say got is-reset
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)" --drain-timeout 0s
	peer_start client connect "$(address one)" send 10 is-reset
	peer_says upstream got
	sluice_signal one TERM
	sluice_stopped one 2
	peer_ends client 5
	peer_ends upstream 5
}

udp_sessions() {
	local now started
	peer_serve upstream echo udp:127.0.0.1:0
	sluice_start one relay -l udp:127.0.0.1:0 -t "$(address upstream)" --drain-timeout 1h
	must peer datagram "$(address one)" many 100 1000
	now_ms
	started=$now
	sluice_stop one
	now_ms
	((now - started < 2500)) || fail "it took $((now - started)) ms to end"
	grep -q '^datagrams: 200 in, 200 out, 1 sessions$' "$dir/one.out" ||
		fail "$(grep ^datagrams "$dir/one.out")"
	peer_kill upstream
}

# A connect that hangs does not outlive the drain timeout.
stop_while_connecting() {
	peer_serve silent full tcp:127.0.0.1:0
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address silent)" --connect-timeout 1h \
		--drain-timeout 500ms
	peer_start client connect "$(address one)" say open is-reset
	peer_says client open
	reaches one conns_accepted 1
	sluice_signal one TERM
	sluice_stopped one 3
	peer_ends client 5
}

# Connections that the server closed first keep their port busy for a minute, for others.
same_port_again() {
	local at
	sluice_start one echo -w 2 -l tcp:127.0.0.1:0
	at=$(address one)
	peer_start client -n 20 connect "$at" swap 1000 say open eof
	peer_says client open
	sluice_stop one
	peer_ends client
	sluice_start two echo -w 2 -l "$at"
	must peer connect "$at" swap 1000 shut eof
	sluice_stop two
	sluice_start three echo -w 1 -l "$at"
	must peer connect "$at" swap 1000 shut eof
}

# SIGKILL leaves nothing behind: the same addresses can be had again.
killed() {
	local tcp udp
	sluice_start one echo -w 2 -l tcp:127.0.0.1:0 -l udp:127.0.0.1:0 -l "unix:$dir/one.sock"
	tcp=$(address one 1) udp=$(address one 2)
	peer_start client -n 20 connect "$tcp" swap 1000 say open is-gone
	peer_start unix connect "unix:$dir/one.sock" swap 1000 say open is-gone
	peer_says client open
	peer_says unix open
	sluice_kill one
	peer_ends client 5
	peer_ends unix 5
	# The kernel takes an io_uring apart in the background, its sockets with it.
	wait_until 5 refuses "$tcp"
	wait_until 5 refuses "unix:$dir/one.sock"
	sluice_start two echo -w 2 -l "$tcp" -l "$udp" -l "unix:$dir/one.sock"
	must peer connect "$tcp" swap 1000 shut eof
	must peer connect "unix:$dir/one.sock" swap 1000 shut eof
	must peer datagram "$udp" send 10 recv 10
}

# ---- workers ----

# The threads of WHO that are not its first one, without the kernel's helpers.
threads() { # WHO: sets threads
	local task
	threads=()
	for task in "/proc/${pid_of[$1]}/task"/*; do
		[[ ${task##*/} == "${pid_of[$1]}" || $(<"$task/comm") == iou-* ]] && continue
		threads+=("$task")
	done
}

pinned() {
	local threads task cpus
	need_cpus 2
	sluice_start one echo -w 2 --cpus 0,1 -l tcp:127.0.0.1:0
	threads one
	((${#threads[@]} == 2)) || fail "${#threads[@]} threads"
	cpus=$(for task in "${threads[@]}"; do
		awk '/^Cpus_allowed_list:/ { print $2 }' "$task/status"
	done | sort | tr '\n' ' ')
	[[ $cpus == "0 1 " ]] || fail "pinned to: $cpus"
	sluice_stop one
	sluice_start two echo -w 3 --cpus 1 -l tcp:127.0.0.1:0
	threads two
	for task in "${threads[@]}"; do
		grep -qx 'Cpus_allowed_list:.1' "$task/status" ||
			fail "a worker is not pinned to CPU 1"
	done
	sluice_stop two
	sluice_start three echo --cpus 1 -l tcp:127.0.0.1:0
	grep -q 'workers=1$' "$dir/three.out" || fail "not as many workers as CPUs"
}

switches() { # TASK
	awk '/^voluntary_ctxt_switches:/ { print $2 }' "$1/status"
}

all_workers_serve() {
	local threads task before=() i
	sluice_start one echo -w 4 -l tcp:127.0.0.1:0
	threads one
	((${#threads[@]} == 4)) || fail "${#threads[@]} threads"
	# Each has a wake-up or two behind it from its start.
	must peer -n 40 connect "$(address one)" swap 10 close
	reaches one conns_closed 40
	for task in "${threads[@]}"; do
		before+=("$(switches "$task")")
	done
	must peer -n 100 connect "$(address one)" swap 10 swap 10 shut eof
	for i in "${!threads[@]}"; do
		(($(switches "${threads[i]}") - before[i] >= 3)) || fail "worker $i did not wake up"
	done
}

one_worker_per_cpu() {
	sluice_start one echo -l tcp:127.0.0.1:0
	grep -q "workers=$(nproc)\$" "$dir/one.out" ||
		fail "not $(nproc) workers: $(<"$dir/one.out")"
	sluice_stop one
	must taskset -p 1 "$$" >"$dir/taskset.log"
	sluice_start two echo -l tcp:127.0.0.1:0
	grep -q 'workers=1$' "$dir/two.out" || fail "more workers than CPUs are allowed"
}

rests() { # WHO: no turn in 300 ms
	local turns
	counters "$1"
	turns=${count[turns]}
	must peer datagram udp:127.0.0.1:9 pause 300
	counters "$1"
	# Asking makes each of the two workers turn once.
	((count[turns] - turns <= 2))
}

# An idle server sleeps.
idle_server() {
	local turns
	sluice_start one echo -w 2 -l tcp:127.0.0.1:0 -l udp:127.0.0.1:0
	must peer -n 10 connect "$(address one)" swap 1000 close
	must peer datagram "$(address one 2)" send 10 recv 10
	reaches one conns_closed 10
	# Until what goes on ten times a second after the last bytes has ended as well.
	wait_until 5 rests one || fail "it never rests"
	counters one
	turns=${count[turns]}
	must peer datagram udp:127.0.0.1:9 pause 1000
	counters one
	((count[turns] - turns <= 4)) || fail "$((count[turns] - turns)) turns in an idle second"
}

each "SIGTERM with an echo in flight" echo_in_flight
each "SIGTERM with a relay in flight" relay_in_flight
each "SIGTERM while an answer is awaited" relay_waits_for_answer
each "SIGTERM with idle echo connections" idle_ends echo
each "SIGTERM with idle discard connections" idle_ends discard
each "drain timeout cuts a relay" cut
each "drain timeout cuts a stalled echo" cut_stalled_echo
each "no drain time" no_drain_time
each "SIGTERM with UDP sessions" udp_sessions
each "SIGTERM while connecting" stop_while_connecting
each "the same port again" same_port_again
each "SIGKILL leaves nothing" killed
each "workers are pinned" pinned
each "all workers serve" all_workers_serve
each "a worker for each CPU allowed" one_worker_per_cpu
each "an idle server sleeps" idle_server
main "$@"
