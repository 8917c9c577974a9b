#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Real clients and servers through the relay: socat, iperf3, redis-benchmark, nc.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

gib=$((1 << 30))

# SHA-256 of standard input as 64 digits. That of openssl is several times as fast.
digest() {
	{ openssl dgst -sha256 -r 2>/dev/null || sha256sum; } | cut -c 1-64
}
export -f digest

listens() { # WHO: socat says so
	grep -q 'listening on' "$dir/$1.err" || is_gone "${pid_of[$1]}"
}

# 1 GiB each way at once: both ends send what they make, and hash what they get.
socat_gib() {
	local port want got way
	need_command socat
	# What runs in the background has no standard input: so the hash stays in front.
	cat >"$dir/server" <<-END
		#!/bin/bash
		"$peer" -T 100 -s 6 gen $gib | tee >(digest >"$dir/want-down") &
		digest >"$dir/got-up"
		wait
	END
	chmod +x "$dir/server"
	socat -d -d -b 65536 -t 60 tcp-listen:0,bind=127.0.0.1 exec:"$dir/server" \
		2>"$dir/server.err" &
	pid_of[server]=$!
	wait_until 5 listens server || fail "socat does not listen"
	port=$(sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' "$dir/server.err")
	sluice_start one relay -l tcp:127.0.0.1:0 -t "tcp:127.0.0.1:$port"
	port=$(address one)
	"$peer" -T 100 -s 5 gen $gib | tee >(digest >"$dir/want-up") |
		socat -b 65536 -t 60 - "tcp:127.0.0.1:${port##*:}" 2>"$dir/client.err" |
		digest >"$dir/got-down"
	wait_until 20 is_gone "${pid_of[server]}" || fail "the server's socat still runs"
	unset "pid_of[server]"
	for way in up down; do
		wait_until 5 test -s "$dir/want-$way" -a -s "$dir/got-$way" || fail "$way: no hash"
		want=$(<"$dir/want-$way") got=$(<"$dir/got-$way")
		[[ $got == "$want" ]] || fail "$way: the hash is '$got' instead of '$want'"
	done
	reaches one conns_closed 1
	counted one bytes_in=$((2 * gib)) bytes_out=$((2 * gib)) err_conn_reset=0
}

# 1 GiB through a relay to an echo server and back.
socat_gib_echo() {
	local port
	need_command socat
	sluice_start echo echo -l "unix:$dir/echo.sock"
	sluice_start one relay -l tcp:127.0.0.1:0 -t "unix:$dir/echo.sock"
	port=$(address one)
	# The same socat writes and reads what comes back: it must never block in a write, so its
	# blocks stay small.
	"$peer" -T 100 -s 7 gen $gib | tee >(digest >"$dir/want") |
		socat -t 60 - "tcp:127.0.0.1:${port##*:}" 2>"$dir/client.err" | digest >"$dir/got"
	wait_until 5 test -s "$dir/want" || fail "no hash"
	cmp -s "$dir/want" "$dir/got" || fail "other bytes came back"
	reaches one conns_closed 1
	counted one bytes_in=$((2 * gib)) bytes_out=$((2 * gib)) err_conn_reset=0
}

netcat() {
	local port
	need_command nc
	sluice_start one echo -l tcp:127.0.0.1:0 -l "tcp:[::1]:0" -l udp:127.0.0.1:0 \
		-l "unix:$dir/one.sock"
	port=$(address one 1)
	[[ $(echo hello | timeout 5 nc -N 127.0.0.1 "${port##*:}") == hello ]] || fail "tcp"
	port=$(address one 2)
	[[ $(echo hello | timeout 5 nc -N ::1 "${port##*:}") == hello ]] || fail "tcp over IPv6"
	port=$(address one 3)
	[[ $(echo hello | timeout 5 nc -u -W 1 127.0.0.1 "${port##*:}") == hello ]] || fail "udp"
	[[ $(echo hello | timeout 5 nc -N -U "$dir/one.sock") == hello ]] || fail "unix"
}

# ---- iperf3 ----

# client -- relay -- server, each in a namespace of its own. iperf3 wants one port for all, and with
# --bidir its server tells the two directions by the order in which connections arrive, which only
# one worker keeps.
iperf_net() {
	need_command iperf3
	netns client relay server
	cable "$client" to-relay "10.88.1.1/24 fd88:1::1/64" \
		"$relay" to-client "10.88.1.2/24 fd88:1::2/64"
	cable "$relay" to-server "10.88.2.1/24 fd88:2::1/64" \
		"$server" to-relay "10.88.2.2/24 fd88:2::2/64"
	NS=$relay sluice_start one relay -w 1 \
		-l tcp:0.0.0.0:5201 -l udp:0.0.0.0:5201 -l "tcp:[::]:5201" -l "udp:[::]:5201" \
		-t tcp:10.88.2.2:5201 -t udp:10.88.2.2:5201
}

iperf_listens() { # FILE
	grep -q 'Server listening' "$1" || is_gone "${pid_of[iperf]}"
}

# One run, with its report in $dir/report.
iperf() { # ARGUMENT...
	: >"$dir/iperf.out"
	ip netns exec "$server" iperf3 -s -1 --forceflush >"$dir/iperf.out" 2>&1 &
	pid_of[iperf]=$!
	wait_until 5 iperf_listens "$dir/iperf.out" || fail "iperf3 -s does not listen"
	ip netns exec "$client" timeout 20 iperf3 -J -t 1 "$@" >"$dir/report" \
		2>"$dir/iperf.err" ||
		fail "iperf3 $*: $(jq -r '.error // "failed"' "$dir/report")"
	wait_until 5 is_gone "${pid_of[iperf]}" || fail "iperf3 -s still runs"
	unset "pid_of[iperf]"
}

# Far below what this reaches, far above what stalls leave: bits per second.
received_enough() { # PATH WHAT
	jq -e "$1 > 50e6" "$dir/report" >/dev/null || fail "$2: $(jq -c "$1" "$dir/report") bit/s"
}

iperf_tcp() {
	local arguments
	iperf_net
	for arguments in "-c 10.88.1.2" "-c 10.88.1.2 -P 4" "-c 10.88.1.2 -R" \
		"-c fd88:1::2 -P 4 -R" "-c 10.88.1.2 --bidir" "-c 10.88.1.2 -l 1K -N"; do
		# shellcheck disable=SC2086 # words
		iperf $arguments
		received_enough .end.sum_received.bits_per_second "iperf3 $arguments"
		[[ $arguments != *bidir* ]] ||
			received_enough .end.sum_received_bidir_reverse.bits_per_second \
				"iperf3 $arguments"
	done
	reaches one conns_closed "${count[conns_accepted]:-1}"
	counted one err_no_upstream=0 err_buffer_evicted=0
}

iperf_udp() {
	local arguments lost
	iperf_net
	for arguments in "-c 10.88.1.2 -l 1200" "-c 10.88.1.2 -l 1200 -R" "-c fd88:1::2 -l 1200" \
		"-c 10.88.1.2 -l 8000 -P 2"; do
		# shellcheck disable=SC2086 # words
		iperf -u -b 50M $arguments
		jq -e '.end.sum.packets > 500' "$dir/report" >/dev/null ||
			fail "iperf3 $arguments: few packets"
		lost=$(jq .end.sum.lost_percent "$dir/report")
		jq -e '.end.sum.lost_percent < 20' "$dir/report" >/dev/null ||
			fail "iperf3 $arguments: $lost per cent lost"
	done
	counted one drop_session_failed=0 drop_truncated=0 drop_send_error=0
}

# ---- redis ----

redis_listens() {
	[[ -S $dir/redis.sock ]] || is_gone "${pid_of[redis]}"
}

redis() { # LISTEN
	local to port
	need_command redis-server redis-benchmark redis-cli jq
	redis-server --port 0 --unixsocket "$dir/redis.sock" --save '' --appendonly no \
		--dir "$dir" >"$dir/redis.out" 2>&1 &
	pid_of[redis]=$!
	wait_until 10 redis_listens || fail "redis-server does not listen"
	sluice_start one relay -l "${1/PLACE/$dir}" -t "unix:$dir/redis.sock"
	to=(-s "$dir/one.sock")
	if [[ $1 == tcp:* ]]; then
		port=$(address one)
		to=(-h 127.0.0.1 -p "${port##*:}")
	fi
	[[ $(redis-cli "${to[@]}" ping) == PONG ]] || fail "no answer to a ping"
	benchmark -n 20000 -c 50 -t ping_inline,set,get,incr
	benchmark -n 100000 -c 20 -P 32 -t set,get
	benchmark -n 1000 -c 10 -d 100000 -t set,get
	benchmark -n 5000 -c 50 -k 0 -t get
	redis-cli "${to[@]}" info commandstats | tr ',:=' '\n' | grep -q '^cmdstat_get$' ||
		fail "redis counted no commands"
	reaches one conns_closed 1
	counted one err_no_upstream=0 err_conn_reset=0
}

benchmark() { # ARGUMENT...
	timeout 30 redis-benchmark "${to[@]}" --csv "$@" \
		>"$dir/benchmark.out" 2>"$dir/benchmark.err" ||
		fail "redis-benchmark $*: status $?"
	! grep -qi error "$dir"/benchmark.{out,err} || fail "redis-benchmark $*: reports an error"
	(($(grep -c '^"[A-Z]' "$dir/benchmark.out") >= 1)) || fail "redis-benchmark $*: no results"
}

limit=90
each "1 GiB each way by socat" socat_gib
each "1 GiB there and back by socat" socat_gib_echo
each "nc" netcat
each "iperf3 over TCP" iperf_tcp
each "iperf3 over UDP" iperf_udp
each "redis-benchmark over tcp" redis tcp:127.0.0.1:0
each "redis-benchmark over unix" redis "unix:PLACE/one.sock"
main "$@"
