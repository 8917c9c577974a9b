#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The load generator against real servers, and against peers that fail it. Nothing here judges how
# fast anything is.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

bench=$build/sluice-bench

# Runs the generator to its end: `status`, $dir/bench.out, bench.err and the JSON in $dir/run.
bench() { # ARGUMENT...
	rm -f "$dir/run"
	timeout 25 "$bench" "$@" --json "$dir/run" >"$dir/bench.out" 2>"$dir/bench.err" </dev/null
	status=$?
}

bench_start() { # WHO ARGUMENT...
	timeout 25 "$bench" "${@:2}" --json "$dir/run" >"$dir/$1.out" 2>"$dir/$1.err" </dev/null &
	pid_of[$1]=$!
}

# The run's JSON fulfils a condition.
is() { # JQ-CONDITION...
	local condition
	[[ -s $dir/run ]] || fail "no JSON: $(tail -n 2 "$dir/bench.err")"
	for condition; do
		jq -e "$condition" "$dir/run" >/dev/null ||
			fail "not so: $condition: $(cut -c 1-700 "$dir/run")"
	done
}

clean() {
	((status == 0)) || fail "status $status: $(tail -n 3 "$dir/bench.err")"
	[[ ! -s $dir/bench.err ]] || fail "printed: $(<"$dir/bench.err")"
	is '.errors_total == 0' '.messages > 0' '.interrupted == false' '.window_s > 0.2'
	grep -q '^messages  *[1-9]' "$dir/bench.out" || fail "no summary"
}

# The target of WHO as two words or one, in `target`.
target() { # WHO
	local at
	at=$(address "$1")
	target=("${at%%:*}" "${at#*:}")
	[[ $at == unix:* ]] && target=("$at")
}

# An echo, discard or relay to an echo, listening at tcp, udp or unix.
serve() { # COMMAND TRANSPORT
	local at=$2:127.0.0.1:0 behind=tcp:127.0.0.1:0
	[[ $2 == unix ]] && at=unix:$dir/one.sock
	[[ $2 == udp ]] && behind=udp:127.0.0.1:0
	if [[ $1 == relay ]]; then
		sluice_start behind echo -l "$behind" -w 1
		sluice_start one relay -l "$at" -t "$(address behind)" -w 1
	else
		sluice_start one "$1" -l "$at" -w 1
	fi
	target one
}

short=(-t 300ms -w 50ms)

patterns() { # TRANSPORT
	local pattern
	need_command jq
	serve echo "$1"
	for pattern in rr duplex churn; do
		[[ $1-$pattern == udp-churn ]] && continue
		bench "${target[@]}" --pattern "$pattern" -c 8 "${short[@]}" --verify \
			--pid "${pid_of[one]}" -s 16-3000
		clean
		is ".options.pattern == \"$pattern\"" '.bytes_received > 0' \
			'.server.cpu_ns > 0' '.server.rss_bytes > 0' '.server.pids | length == 1' \
			'[.intervals[].messages] | add > 0'
		if [[ $pattern == duplex ]]; then
			is '.latency_ns == null'
		else
			is '.latency_ns.count == .messages + .unanswered' \
				'.latency_ns.p50 <= .latency_ns.p99' \
				'.latency_ns.min <= .latency_ns.p50' \
				'.latency_ns.p99_99 <= .latency_ns.max'
		fi
	done
	bench "${target[@]}" -c 6 -d 7 --threads 2 "${short[@]}" --verify -s 64
	clean
	bench "${target[@]}" -c 6 --rate 500 "${short[@]}" --verify
	clean
	is '.latency_ns.count >= 140 and .latency_ns.count <= 151' '.generator.behind_ns.count > 0'
}

streams() { # TRANSPORT
	need_command jq
	serve discard "$1"
	bench "${target[@]}" --pattern stream -c 3 "${short[@]}" -s 4K --pid "${pid_of[one]}"
	clean
	is '.bytes_sent > 0' '.bytes_received == 0' '.latency_ns == null' \
		'[.intervals[].bytes] | add > 0 and max < 1e12'
	if [[ $1 == udp ]]; then
		bench "${target[@]}" --pattern stream "${short[@]}" -s 100 --gso
		clean
		is '.udp.sent > 0'
	fi
	bench "${target[@]}" --pattern stream -c 2 --rate 300 "${short[@]}" -s 1000
	clean
}

relays() { # TRANSPORT
	need_command jq
	serve relay "$1"
	bench "${target[@]}" -c 8 "${short[@]}" --verify --pid "${pid_of[one]},${pid_of[behind]}"
	clean
	is '.server.pids | length == 2'
	[[ $1 == udp ]] && return
	bench "${target[@]}" -c 8 "${short[@]}" --verify --pattern churn
	clean
	bench "${target[@]}" -c 2 "${short[@]}" --verify -s 1M
	clean
}

# What tools read: every member is there, in the three forms.
forms() {
	local member
	need_command jq
	serve echo udp
	bench "${target[@]}" -c 2 "${short[@]}" --csv "$dir/csv" --hist "$dir/hist" --cpus 0 --spin
	clean
	for member in schema version started target.transport target.address options.pattern \
		options.connections options.size_min options.size_max options.depth \
		options.duration_s options.warmup_s options.threads options.cpus \
		options.rate_per_s options.verify options.spin interrupted window_s messages \
		bytes_sent bytes_received messages_per_s bytes_per_s latency_ns.count \
		latency_ns.min latency_ns.mean latency_ns.p50 latency_ns.p90 latency_ns.p99 \
		latency_ns.p99_9 latency_ns.p99_99 latency_ns.max latency_ns.relative_error \
		udp.sent udp.received udp.lost udp.duplicates udp.reordered udp.corrupt \
		errors.connect errors.reset errors.closed errors.timeout errors.corrupt \
		errors.surplus errors.io errors_total server generator.cpu_ns generator.busy \
		generator.limited generator.reasons intervals; do
		is "getpath(\"$member\" | split(\".\")[:-1]) | has(\"${member##*.}\")"
	done
	is '.schema == "sluice-bench/1"' '.intervals | length > 3 and length <= 100' \
		'.udp.sent == .udp.received + .udp.lost' '.latency_ns.relative_error <= 1 / 128' \
		'.server == null' '.options.cpus == "0"'
	awk -F, 'NR == 1 { n = NF } NR == 2 && NF == n { ok = 1 } END { exit !(ok && NR == 2) }' \
		"$dir/csv" || fail "not two lines of the same length: $(<"$dir/csv")"
	awk '/^#\[Max/ { max = 1 } !/^#/ && NR > 2 { if ($2 < last) exit 1; last = $2 }
		END { exit !(max && last == 1) }' "$dir/hist" || fail "$(tail -n 9 "$dir/hist")"
	"$bench" "${target[@]}" "${short[@]}" --json - 2>"$dir/bench.err" | jq -e .messages \
		>/dev/null || fail "--json -: not JSON alone"
}

# Each has a line that says what is wrong, and its status.
mistakes() {
	local text
	while IFS='|' read -r status text arguments; do
		# shellcheck disable=SC2086 # words
		timeout 10 "$bench" $arguments >"$dir/bench.out" 2>"$dir/bench.err" </dev/null
		ended=$?
		((ended == status)) || fail "$arguments: status $ended: $(<"$dir/bench.err")"
		[[ ! -s $dir/bench.out ]] || fail "$arguments: $(<"$dir/bench.out")"
		(($(wc -l <"$dir/bench.err") == 1)) || fail "$arguments: $(<"$dir/bench.err")"
		grep -qF -- "$text" "$dir/bench.err" ||
			fail "$arguments: no '$text' in: $(<"$dir/bench.err")"
	done <<-END
		2|target|
		2|HOST:PORT|tcp
		2|not HOST:PORT|tcp 127.0.0.1
		2|not HOST:PORT|tcp ::1:7
		2|not HOST:PORT|tcp 127.0.0.1:
		2|1 to 65535, not '0'|tcp 127.0.0.1:0
		2|1 to 65535, not '99999'|udp [::1]:99999
		2|1 to 65535, not 'http'|tcp localhost:http
		2|'foo': there is help, help compare and help report|help foo
		2|'more': there is|help compare more
		2|16 to 65507|udp 127.0.0.1:7 -s 8
		2|--depth|tcp 127.0.0.1:7 -d 0
		2|at most 107|unix:/$(printf 'x%.0s' {1..200})
		2|family|tcp 127.0.0.1:7 --source ::1
		1|service running|unix:$dir/nothing
		1|no such process|tcp 127.0.0.1:7 --pid 4194304
		1|cannot write|tcp 127.0.0.1:7 --csv $dir/no/where
		1|may not run|tcp 127.0.0.1:7 --cpus 1023
		1|ulimit -Hn|tcp 127.0.0.1:7 -c 1000000
	END
	for text in compare report; do
		"$bench" help "$text" | grep -q "^usage: sluice-bench $text" || fail "help $text"
	done
	"$bench" help | awk 'length > 79 { exit 1 }' || fail "help: a line over 79 columns"
}

refused() {
	local kind
	need_command jq
	for kind in tcp udp; do
		peer_serve "nobody-$kind" refuse "$kind:127.0.0.1:0"
		target "nobody-$kind"
		bench "${target[@]}" -c 4 "${short[@]}"
		((status == 1)) || fail "$kind: status $status"
		grep -q 'refused.*service running' "$dir/bench.err" || fail "$(<"$dir/bench.err")"
		(($(wc -l <"$dir/bench.err") == 1)) || fail "$kind: $(<"$dir/bench.err")"
	done
}

# One that accepts and says nothing, and one that does not accept.
silent() { # ACTION AT [WHAT]
	if [[ $1 == discard ]]; then
		serve discard "$2"
	else
		# shellcheck disable=SC2086 # nothing, or a word
		peer_serve one "$1" "${2/PLACE/$dir}" ${3-}
		target one
	fi
	bench "${target[@]}" "${short[@]}" --open-timeout 300ms
	((status == 1)) || fail "status $status"
	grep -q 'only 0 of 1 .*--open-timeout' "$dir/bench.err" || fail "$(<"$dir/bench.err")"
}

# Peers answer the first message as an echo would not.
odd_answers() {
	local what actions text option
	while IFS='|' read -r what actions text option; do
		# shellcheck disable=SC2086 # words
		peer_serve "$what" -s 2 listen tcp:127.0.0.1:0 $actions
		target "$what"
		# shellcheck disable=SC2086 # nothing, or a word
		bench "${target[@]}" -c 1 "${short[@]}" -s 1000 $option
		((status == 1)) || fail "$what: status $status"
		grep -q "$text" "$dir/bench.err" || fail "$what: $(<"$dir/bench.err")"
	done <<-END
		other-bytes|send 1000 is-gone|differs|--verify
		half-an-answer|send 500 shut is-gone|closed by the peer|
		a-reset|reset|reset|
		surplus|send 1001 is-gone|more came back|
		silence-after-one|send 1000 is-gone|not a byte moved|
	END
}

# A relay in front of which nothing is lost: its end is met in the middle of a run.
killed() { # PATTERN
	need_command jq
	serve echo tcp
	bench_start load "${target[@]}" -c 8 -t 20 -w 0 --pattern "$1" --pid "${pid_of[one]}"
	reaches one bytes_in 100000 10
	sluice_kill one
	ends load 10
	((status == 1)) || fail "status $status"
	is '.messages > 0' '.errors_total >= 8' '.window_s < 19' '.interrupted == false' \
		'.errors_total == ([.errors[]] | add)'
	(($(grep -c connection "$dir/load.err") == 1)) || fail "more than the first failure"
}

interrupted() { # SIGNAL
	need_command jq
	serve echo tcp
	bench_start load "${target[@]}" -c 8 -t 20 -w 0 --pid "${pid_of[one]}"
	reaches one bytes_in 100000 10
	# timeout passes it on
	kill "-$1" "${pid_of[load]}"
	ends load 10
	is '.interrupted' '.messages > 0' '.window_s < 19' \
		'.latency_ns.count == .messages + .unanswered' \
		'.server.cpu_ns > 0' '.errors_total == 0'
	grep -q '(interrupted)' "$dir/load.out" || fail "no summary"
}

# Nothing was measured, so nothing is amiss.
interrupted_early() {
	need_command jq
	serve echo tcp
	bench_start load "${target[@]}" -c 8 -w 20
	reaches one bytes_in 100000 10
	kill -INT "${pid_of[load]}"
	ends load 10
	((status == 0)) || fail "status $status: $(<"$dir/load.err")"
	is '.interrupted' '.messages == 0' '.unanswered == 0' '.errors_total == 0'
}

# The server stands still for a while: whatever was due meanwhile has waited from its time on.
stalled() { # TRANSPORT
	local stopped_ms
	need_command jq
	serve echo "$1"
	bench_start load "${target[@]}" -c 4 -t 3 -w 0 --rate 1000 --timeout 20s
	reaches one "$2" 100 10
	sluice_signal one STOP
	now_ms
	stopped_ms=$now
	sleep 0.5
	now_ms
	stopped_ms=$((now - stopped_ms))
	sluice_signal one CONT
	ends load 20
	((status == 0)) || fail "status $status: $(<"$dir/load.err")"
	# of the 1000 messages a second, one was due at the very start
	is ".latency_ns.max >= ($stopped_ms - 10) * 1000000" '.latency_ns.p99 >= 100000000' \
		'.latency_ns.count >= 2990 and .latency_ns.count <= 3001' '.unanswered == 0'
}

# The server stands still from some time until beyond the end. No schedule says what was due, but
# what was under way has waited since. In `stopped_ms`: how long at the least, within the window.
stops_for_good() { # COUNTER ARGUMENT...
	local end
	now_ms
	end=$((now + 3000))
	bench_start load "${target[@]}" -c 4 -t 3 -w 0 --timeout 20s "${@:2}"
	reaches one "$1" 100 10
	sluice_signal one STOP
	now_ms
	stopped_ms=$((end - now - 10))
	ends load 30
	sluice_signal one CONT
}

stopped() { # TRANSPORT PATTERN
	local stopped_ms
	need_command jq
	serve echo "$1"
	stops_for_good bytes_in --pattern "$2" -d "${3-1}"
	((status == 0)) || fail "status $status: $(<"$dir/load.err")"
	is '.messages > 0' ".latency_ns.max >= $stopped_ms * 1000000" \
		".unanswered == 4 * ${3-1}" '.latency_ns.count == .messages + .unanswered'
	grep -q 'unanswered in the end' "$dir/load.out" || fail "$(<"$dir/load.out")"
}

# Datagrams may be lost. Those answered after the end, which this one awaits, are not.
stopped_datagrams() {
	need_command jq
	serve echo udp
	bench_start load "${target[@]}" -c 4 -t 2 -w 0 --timeout 20s
	reaches one dgrams_in 100 10
	sluice_signal one STOP
	sleep 2.1
	sluice_signal one CONT
	ends load 20
	((status == 0)) || fail "status $status: $(<"$dir/load.err")"
	# it stood still for 2.1 s, longer than all of the window
	is '.messages > 0' '.unanswered == 4' '.latency_ns.max >= 2000000000' '.udp.lost == 0'
}

stalled_streams() { # COMMAND TRANSPORT PATTERN COUNTER
	local stopped_ms
	need_command jq
	serve "$1" "$2"
	stops_for_good "$4" --pattern "$3"
	((status == 0)) || fail "status $status: $(<"$dir/load.err")"
	is '.bytes_sent > 0' '.stalled_connections == 4' '.latency_ns == null'
	grep -q '^stalled  *4 connections' "$dir/load.out" || fail "$(<"$dir/load.out")"
}

# More than anybody could send: that is said, and is no clean run.
too_fast() {
	need_command jq
	serve echo "$1"
	bench "${target[@]}" "${short[@]}" -w 200ms --rate 1000M
	((status == 1)) || fail "status $status"
	grep -q 'rate could not be met' "$dir/bench.err" || fail "$(<"$dir/bench.err")"
	grep -q 'could not be met: .* behind by' "$dir/bench.out" || fail "$(<"$dir/bench.out")"
	is '.unsent > 0' '.errors.timeout >= .unsent' '.generator.limited'
	if jq -e '.latency_ns.count == 0' "$dir/run" >/dev/null; then
		grep -q 'no message that was due in the window was answered' "$dir/bench.out" ||
			fail "$(<"$dir/bench.out")"
	fi
}

# The reason why a report could not be written is the file's.
full_device() {
	local form
	serve echo tcp
	for form in json csv hist; do
		timeout 10 "$bench" "${target[@]}" -t 100ms -w 0 "--$form" /dev/full \
			>"$dir/bench.out" 2>"$dir/bench.err" </dev/null
		status=$?
		((status == 1)) || fail "--$form: status $status"
		grep -qi 'cannot write /dev/full: no space left' "$dir/bench.err" ||
			fail "--$form: $(<"$dir/bench.err")"
	done
	timeout 10 "$bench" "${target[@]}" -t 100ms -w 0 --json - >/dev/full 2>"$dir/bench.err" &&
		fail "--json -: status 0"
	grep -qi 'cannot write -: no space left' "$dir/bench.err" || fail "$(<"$dir/bench.err")"
}

# What has no answer when the time is over counts as well, with what it has waited.
never_answered() {
	need_command jq
	serve echo tcp
	bench_start load "${target[@]}" -c 4 -t 2 -w 0 --rate 1000 --timeout 2s
	reaches one bytes_in 10000 10
	sluice_signal one STOP
	ends load 20
	sluice_signal one CONT
	((status == 1)) || fail "status $status"
	is '.unanswered > 0 or .errors.timeout > 0' '.messages > 0' '.errors_total > 0'
}

# Datagrams into a server that stands still overflow its queue: lost, and no end to the load.
lost() {
	need_command jq
	serve echo udp
	bench_start load "${target[@]}" -c 4 -d 64 -s 1400 -t 2 -w 0 --timeout 50ms
	reaches one dgram_bytes_in 1000000 10
	sluice_signal one STOP
	sleep 0.5
	sluice_signal one CONT
	ends load 20
	((status == 0)) || fail "status $status: $(<"$dir/load.err")"
	is '.udp.lost > 0' '.udp.late > 0' '.udp.sent == .udp.received + .udp.lost' \
		'.udp.corrupt == 0' '.messages > .udp.lost'
}

idle() {
	local n
	serve echo tcp
	mkfifo "$dir/in"
	exec {n}<>"$dir/in"
	"$bench" "${target[@]}" -c 50 --idle <"$dir/in" >"$dir/load.out" 2>"$dir/load.err" &
	pid_of[load]=$!
	wait_until 10 grep -qsx 'idle 50' "$dir/load.out" || fail "not idle"
	reaches one bytes_in 3200
	counted one conns_accepted=50 conns_closed=0 bytes_in=3200
	exec {n}>&-
	kill "${pid_of[load]}"
	ends load 5
	((status == 0)) || fail "status $status"
}

many() {
	need_command jq
	need_descriptors 2100
	serve echo tcp
	bench "${target[@]}" -c 2000 --threads 2 -t 500ms -w 100ms --verify
	clean
	bench "${target[@]}" -c 500 -t 2 -w 100ms --pattern churn
	clean
}

ipv6() {
	need_command jq
	grep -qs ^0.*1 /proc/net/if_inet6 || skip "no IPv6 here"
	sluice_start one echo -l 'tcp:[::1]:0' -w 1
	target one
	bench "${target[@]}" "${short[@]}" --verify
	clean
	is '.target.address | startswith("[::1]:")'
}

limit=60
each "patterns over tcp" patterns tcp
each "patterns over udp" patterns udp
each "patterns over unix" patterns unix
each "one way over tcp" streams tcp
each "one way over udp" streams udp
each "one way over unix" streams unix
once "through a relay over tcp" relays tcp
once "through a relay over udp" relays udp
once "through a relay over unix" relays unix
once "JSON, CSV and percentiles" forms
once "mistakes are named" mistakes
once "refused" refused
once "a peer that never answers" silent listen tcp:127.0.0.1:0 is-gone
once "a peer that never accepts, over tcp" silent full tcp:127.0.0.1:0
once "a peer that never accepts, over unix" silent full unix:PLACE/one.sock
once "a peer that never answers datagrams" silent discard udp
once "answers that are wrong" odd_answers
once "the server is killed" killed rr
once "the server is killed, a connection per message" killed churn
once "SIGINT" interrupted INT
once "SIGTERM" interrupted TERM
once "SIGINT while warming up" interrupted_early
alone "a stall counts from the intended time over tcp" stalled tcp bytes_in
alone "a stall counts from the intended time over udp" stalled udp dgrams_in
alone "a stall counts from the intended time over unix" stalled unix bytes_in
alone "the server stops for good over tcp" stopped tcp rr
alone "the server stops for good over tcp, 16 under way" stopped tcp rr 16
alone "the server stops for good over unix" stopped unix rr
alone "the server stops for good, a connection per message" stopped tcp churn
alone "the server stops past the end over udp" stopped_datagrams
alone "the server stops for good, duplex" stalled_streams echo tcp duplex bytes_in
alone "the server stops for good, duplex over udp" stalled_streams echo udp duplex dgrams_in
alone "the server stops for good, one way" stalled_streams discard tcp stream bytes_in
once "a rate that nobody could meet over tcp" too_fast tcp
once "a rate that nobody could meet over udp" too_fast udp
once "a full device" full_device
once "never answered" never_answered
once "lost datagrams" lost
once "idle connections" idle
once "many connections" many
once "IPv6" ipv6
main "$@"
