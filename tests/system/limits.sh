#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What happens at the limits: connections, descriptors, memory.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# ---- --max-conns ----

max_conns() { # WORKERS
	local who before
	sluice_start one echo -w "$1" -l tcp:127.0.0.1:0 --max-conns 3
	for who in a b c; do
		peer_start $who connect "$(address one)" swap 10 say here wait
		peer_says $who here
	done
	peer_start next connect "$(address one)" send 10 say sent recv 10 say served wait
	peer_says next sent
	reaches one pause_max_conns 1
	counted one conns_accepted=3
	# A pause is no reason to be busy.
	cpu_ms "${pid_of[one]}"
	before=$cpu_ms
	must peer connect "$(address one)" is-silent 1000
	cpu_ms "${pid_of[one]}"
	((cpu_ms - before < 150)) || fail "$((cpu_ms - before)) ms of CPU in a second of pause"
	! grep -q served "$dir/next.out" || fail "one more than allowed was served"
	counted one conns_accepted=3
	(($(logged one 'accepting paused') <= $1)) || fail "the pause was logged more than once"
	peer_go b
	peer_ends b
	peer_says next served 3
	for who in a c next; do
		peer_go $who
		peer_ends $who
	done
	# The one that came in between had left before it was accepted.
	reaches one conns_closed 4
	counted one err_accept=0
}

# The last connection that is allowed is there for whoever comes, by any listener and any worker.
max_conns_anywhere() {
	local i
	sluice_start one echo -w 2 -l tcp:127.0.0.1:0 -l "unix:$dir/one.sock" --max-conns 1
	for i in 1 2 3 4 5 6 7 8 9 10; do
		must peer -T 3 connect "$(address one 1)" swap 10 shut eof
		must peer -T 3 connect "$(address one 2)" swap 10 shut eof
	done
	reaches one conns_closed 20
}

# Many come and go at the limit: it is never passed, and nobody is forgotten.
max_conns_churn() {
	local i worst=0 busy=1
	sluice_start one echo -w 2 -l tcp:127.0.0.1:0 --max-conns 5
	for i in {1..10}; do
		peer_start "crowd$i" -x 200 connect "$(address one)" swap 1000 shut eof
	done
	while ((busy)); do
		counters one
		i=$((count[conns_accepted] - count[conns_closed]))
		((i > worst)) && worst=$i
		busy=0
		for i in {1..10}; do
			is_gone "${pid_of[crowd$i]}" || busy=1
		done
	done
	for i in {1..10}; do
		peer_ends "crowd$i"
	done
	# The counters are read while they change: closed before, accepted after one more.
	((worst <= 7)) || fail "$worst connections at once"
	reaches one conns_closed 2000
	counted one err_accept=0
	# Told once, not with each connection that closes at the limit.
	(($(logged one 'accepting paused') <= 20)) ||
		fail "the pause was logged $(logged one 'accepting paused') times"
}

# ---- descriptors ----

# Starts WHO with a low limit and with descriptors open that it knows nothing of, as a program that
# inherits some does. How many it has left is in `room`.
sluice_start_short() { # WHO ARGUMENT...
	local extra
	: >"$dir/$1.out"
	(
		ulimit -n 120
		for _ in {1..70}; do
			exec {extra}</dev/null
		done
		exec "$sluice" "$2" -b "$backend" -w 1 "${@:3}"
	) >"$dir/$1.out" 2>"$dir/$1.err" &
	pid_of[$1]=$! is_server[$1]=1
	wait_until 10 is_ready "$1" || fail "$1 was not ready after 10 s"
	grep -qx ready "$dir/$1.out" || fail "$1 did not start: $(tail -n 1 "$dir/$1.err")"
	# What was inherited from further away may have numbers above the limit.
	room=$((120 - $(find "/proc/${pid_of[$1]}/fd" -type l | awk -F / '$5 < 120' | wc -l)))
}

# Out of descriptors for a while: it says so once and rests.
stays_calm() { # WHO
	local before turns
	counters "$1"
	turns=${count[turns]}
	cpu_ms "${pid_of[$1]}"
	before=$cpu_ms
	must peer -T 5 connect "$(address "$1")" is-silent 1500
	cpu_ms "${pid_of[$1]}"
	((cpu_ms - before < 200)) || fail "$((cpu_ms - before)) ms of CPU in 1.5 s"
	counters "$1"
	((count[turns] - turns < 200)) || fail "$((count[turns] - turns)) turns in 1.5 s"
	(($(logged "$1" 'accepting paused') == 1)) ||
		fail "the pause was logged $(logged "$1" 'accepting paused') times"
}

out_of_descriptors() {
	local room
	sluice_start_short one echo -l tcp:127.0.0.1:0
	((room < 50)) || skip "descriptors are not counted as expected"
	peer_start early connect "$(address one)" swap 10 say here wait swap 100000 say there wait
	peer_says early here
	peer_start crowd -n $((room - 1)) connect "$(address one)" swap 10 say here wait
	peer_says crowd here
	peer_start late -n 10 connect "$(address one)" send 10 say sent recv 10 say served wait
	peer_says late sent
	reaches one pause_descriptors 1
	counted one conns_accepted="$room"
	stays_calm one
	peer_go early
	peer_says early there
	peer_go crowd
	peer_ends crowd
	peer_says late served 3
	# More of them than connections: it paused once, resumed, and has no need to say so again.
	(($(logged one 'accepting paused') == 1)) || fail "the pause was logged more than once"
	peer_go late
	peer_ends late
	peer_go early
	peer_ends early
	wait_until 5 count_has_reached one conns_closed $((room + 10)) || fail "not all were closed"
	counted one err_conn_reset=0
}

# A relay may find a descriptor for the client and none for upstream. Those clients may be refused,
# but the ones that are served are not disturbed, and later ones are served again.
out_of_descriptors_relay() {
	local room
	peer_serve upstream -x 0 -n 1 -T 60 listen tcp:127.0.0.1:0 say got is-gone
	peer_serve second -x 0 -n 1 -T 60 listen tcp:127.0.0.1:0 text hello is-gone
	sluice_start_short one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	((room < 50)) || skip "descriptors are not counted as expected"
	peer_start crowd -n $((room + 10)) connect "$(address one)" say open wait
	peer_says crowd open
	reaches one pause_descriptors 1
	stays_calm one
	peer_go crowd
	peer_ends crowd
	reaches one conns_closed "${count[conns_accepted]}"
	peer_start next -T 10 connect "$(address one)" send 10 say sent wait
	peer_says next sent
	reaches one bytes_out 10
	peer_go next
	peer_ends next
}

ten_thousand() { # COMMAND
	local who=one before
	need_descriptors 12000
	sluice_start echo echo -l tcp:127.0.0.1:0
	if [[ $1 == relay ]]; then
		sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address echo)"
	else
		who="echo"
	fi
	must peer connect "$(address $who)" swap 10 shut eof
	before=$(descriptors "${pid_of[$who]}")
	must peer -T 60 -n 2500 connect "$(address $who)" close
	must peer -T 60 -n 2500 connect "$(address $who)" send 64 recv 64 reset
	must peer -T 60 -n 2500 connect "$(address $who)" send 100 shut recv 100 eof
	must peer -T 60 -n 2500 connect "$(address $who)" send 5000 close
	reaches $who conns_closed 10001 20
	counted $who conns_accepted=10001 err_accept=0 err_no_upstream=0 uring_cq_overflows=0
	reaches echo conns_closed "${count[conns_accepted]}" 20
	wait_until 5 has_descriptors "${pid_of[$who]}" "$before" ||
		fail "$(descriptors "${pid_of[$who]}") descriptors instead of $before"
	must peer connect "$(address $who)" swap 100000 shut eof
}

has_descriptors() { # PID N
	(($(descriptors "$1") <= $2))
}

# All at the same time.
ten_thousand_at_once() {
	need_descriptors 12000
	sluice_start one echo -l tcp:127.0.0.1:0
	must peer -T 60 -n 10000 connect "$(address one)" swap 64 swap 64 close
	reaches one conns_closed 10000 20
	counted one conns_accepted=10000 bytes_out=1280000 err_accept=0 err_conn_reset=0
}

# ---- memory ----

has_shrunk() { # PID KIB
	rss_kib "$1"
	((rss_kib <= $2))
}

idle_memory() {
	local before n=5000
	need_descriptors $((2 * n + 1000))
	peer_serve upstream -T 60 -n $n -s 2 listen tcp:127.0.0.1:0 swap 1000 wait
	sluice_start one relay -w 2 -l tcp:127.0.0.1:0 -t "$(address upstream)"
	rss_kib "${pid_of[one]}"
	before=$rss_kib
	peer_start client -T 60 -n $n -r 2 connect "$(address one)" swap 1000 say idle wait
	peer_says client idle 60
	reaches one conns_accepted $n
	# What a burst took goes back when the connections rest.
	wait_until 15 has_shrunk "${pid_of[one]}" $((before + n)) ||
		fail "$(((rss_kib - before) * 1024 / n)) bytes of memory for each connection"
	echo "# $(((rss_kib - before) * 1024 / n)) bytes each"
	peer_go client
	peer_go upstream
	peer_ends client
	peer_ends upstream
}

# For ten seconds nobody reads. The senders are stopped, memory and CPU time stay small, and then
# all of it arrives.
stopped_reader() { # COMMAND
	local who=one to=() before filled most=0 i total=200000000
	if [[ $1 == relay ]]; then
		peer_serve upstream -T 60 -s 2 listen tcp:127.0.0.1:0 fill 2000000000 1000 wait \
			swap-to $total shut eof
		to=(-r 2)
		sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)"
	else
		sluice_start one echo -l tcp:127.0.0.1:0
	fi
	rss_kib "${pid_of[one]}"
	before=$rss_kib
	peer_start client -T 60 "${to[@]}" connect "$(address one)" fill 2000000000 1000 wait \
		swap-to $total shut eof
	peer_says client filled
	[[ $1 == echo ]] || peer_says upstream filled
	read -r _ filled _ <"$dir/client.out"
	((filled < 60000000)) || fail "the sender was stopped after $filled bytes only"
	cpu_ms "${pid_of[one]}"
	i=$cpu_ms
	wait_until 10 watches_memory
	cpu_ms "${pid_of[one]}"
	((cpu_ms - i < 200)) || fail "$((cpu_ms - i)) ms of CPU while nothing moved"
	((most - before < 8192)) || fail "memory grew by $((most - before)) KiB"
	echo "# memory grew by $((most - before)) KiB, the sender was stopped after $filled bytes"
	peer_go client
	[[ $1 == echo ]] || peer_go upstream
	peer_ends client 40
	[[ $1 == echo ]] || peer_ends upstream 40
	reaches one conns_closed 1
	counted one err_conn_reset=0 err_buffer_evicted=0
	rss_kib "${pid_of[one]}"
	((rss_kib - before < 16384)) || fail "memory grew by $((rss_kib - before)) KiB in the end"
}

# Never true: notes the most memory in `most`.
watches_memory() {
	rss_kib "${pid_of[one]}"
	((rss_kib > most)) && most=$rss_kib
	return 1
}

# 200 clients send and never read. Others are served, and memory stays within its bound.
stalled_clients() {
	local before now started slowest=0
	sluice_start one echo -w 1 -l tcp:127.0.0.1:0 --buffer-memory 4M
	rss_kib "${pid_of[one]}"
	before=$rss_kib
	peer_start stalled -T 60 -B 65536 -n 200 connect "$(address one)" fill 20000000 3000 wait
	reaches one conns_accepted 150
	# From when there is memory, over when there is none, to when the crowd has been dealt with.
	until has_said stalled filled; do
		now_ms
		started=$now
		must peer -T 5 connect "$(address one)" swap 1000 swap 300000 shut eof
		now_ms
		((now - started > slowest)) && slowest=$((now - started))
	done
	peer_says stalled filled
	must peer -T 5 -n 20 connect "$(address one)" swap 100000 shut eof
	rss_kib "${pid_of[one]}"
	((rss_kib - before < 8192)) || fail "memory grew by $((rss_kib - before)) KiB"
	counters one
	echo "# memory grew by $((rss_kib - before)) KiB, ${count[err_buffer_evicted]} evicted," \
		"$slowest ms for 301,000 bytes of another client"
	peer_go stalled
	peer_ends stalled
	reaches one conns_closed "${count[conns_accepted]}"
}

limit=60
each "reader stopped for 10 s, echo" stopped_reader echo
each "reader stopped for 10 s, relay" stopped_reader relay
limit=30
each "--max-conns, one worker" max_conns 1
each "--max-conns, two workers" max_conns 2
each "--max-conns 1, two workers, two listeners" max_conns_anywhere
each "--max-conns and many clients" max_conns_churn
each "out of descriptors" out_of_descriptors
each "out of descriptors in relay" out_of_descriptors_relay
each "5,000 idle relayed connections" idle_memory
limit=60
each "200 stalled clients" stalled_clients
each "10,000 connections to echo" ten_thousand echo
each "10,000 connections through relay" ten_thousand relay
each "10,000 connections at once" ten_thousand_at_once
main "$@"
