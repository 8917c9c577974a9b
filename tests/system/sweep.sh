#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The sweep behind `make bench`: what it refuses, what it writes, and what it leaves behind.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# The programs under a name of this case's own, by which its processes are found.
programs() {
	need_cpus 2
	need_command jq taskset
	mkdir "$dir/bin"
	ln -s "$build"/{sluice,sluice-bench,floor_*} "$dir/bin"
}

sweep() { # ARGUMENT...
	BIN=$dir/bin bench/sweep --out "$dir/out" --seconds 0.1 --warmup 0.02 "$@" \
		>"$dir/sweep.out" 2>"$dir/sweep.err" </dev/null
}

# The answer of jq to each line of the runs that are there, as one line.
ask() { # FILTER
	jq -c "$1" "$dir/out/runs.jsonl" 2>"$dir/jq.err" | paste -sd ' '
}

no_process_left() {
	local file
	for file in /proc/[0-9]*/cmdline; do
		! grep -qsF "$dir/bin" "$file" || return 1
	done
}

left_nothing() {
	wait_until 5 no_process_left || fail "processes are left"
	[[ -z $(find "$dir/tmp" -mindepth 1) ]] || fail "files are left: $(ls "$dir/tmp")"
}

own_tmp() {
	mkdir "$dir/tmp"
	export TMPDIR=$dir/tmp
}

wrong() { # TEXT ARGUMENT...
	local status
	sweep "${@:2}"
	status=$?
	((status == 2)) || fail "${*:2}: status $status"
	grep -qF -- "$1" "$dir/sweep.err" || fail "${*:2}: no '$1' in: $(<"$dir/sweep.err")"
	[[ $(wc -l <"$dir/sweep.err") == 1 ]] || fail "${*:2}: more than a line"
}

wrong_options() {
	programs
	wrong "unknown option '--round'" --round 3
	wrong "--rounds wants a value" --rounds
	wrong "--rounds wants a whole number" --rounds 0
	wrong "--rounds wants a whole number" --rounds 1.5
	wrong "--seconds wants a number" --seconds 0.0
	wrong "--seconds wants a number" --seconds soon
	wrong "--warmup wants a number" --warmup -1
	wrong "--limit wants seconds" --limit 10m
	wrong "--only: there is no 'eco'" --only echo,eco
	wrong "--servers: there is no 'apache'" --servers apache
	wrong "--cells wants CONNECTIONSxBYTES" --cells 64
	wrong "--cells wants CONNECTIONSxBYTES" --cells 0x64
	wrong "--with wants NAME=COMMAND" --with mine
	wrong "--with wants NAME=COMMAND" --with 'my own=true'
	wrong "there is a server nginx already" --with nginx=true
	wrong "nothing to measure" --only echo --servers socat
	rm "$dir/bin/sluice-bench"
	wrong "is missing: run make" --only echo
}

plan() {
	programs
	sweep --list || fail "status $?"
	grep -qE '^[0-9]+ runs in 5 rounds: about [0-9]:[0-9]{2} minutes$' "$dir/sweep.out" ||
		fail "no estimate"
	grep -q '^relay  *1000x64 ' "$dir/sweep.out" || fail "a row is missing"
	[[ ! -e $dir/out ]] || fail "it has written something"
}

small() {
	local runs
	own_tmp
	programs
	sweep --rounds 2 --only echo,relay --cells 2x64 \
		--servers floor_epoll,sluice_epoll --with "mine=$dir/bin/floor_epoll 0" ||
		fail "status $?"
	[[ $(ask '.env // empty | [.options.rounds, .missing, (.versions.sluice | length > 0)]') \
		== '[2,[],true]' ]] || fail "the first line: $(head -n 1 "$dir/out/runs.jsonl")"
	runs=$(jq -r 'select(.run) | "\(.round) \(.use) \(.server)"' "$dir/out/runs.jsonl")
	diff - <(echo "$runs") >"$dir/runs.out" <<-'END' || fail "other runs, or another order"
	1 echo floor_epoll
	1 echo sluice_epoll
	1 echo mine
	1 relay sluice_epoll
	2 echo sluice_epoll
	2 echo mine
	2 echo floor_epoll
	2 relay sluice_epoll
	END
	[[ $(ask 'select(.run) | .run.errors_total + 0 == 0 and .run.messages > 0 and
		.run.server.cpu_ns > 0') != *false* ]] || fail "a run is not as it should be"
	[[ -s $dir/out/report.md && -s $dir/out/report.json ]] || fail "no report"
	left_nothing
}

# What is installed runs, what is not is named.
peers_of_this_host() {
	local name
	own_tmp
	programs
	sweep --rounds 1 --only relay --cells 1x64 --servers haproxy,nginx,socat,sluice_epoll ||
		fail "status $?"
	for name in haproxy nginx socat; do
		[[ $(ask ".env.missing // empty | .[]") == *"\"$name: "* ||
			$(ask "select(.server == \"$name\") | .run.messages > 0") == true ]] ||
			fail "$name is neither missing nor measured"
	done
	left_nothing
}

# A peer that lacks what is needed, and one that does not start: named, and the others go on.
peers_missing() {
	own_tmp
	programs
	mkdir "$dir/peers"
	printf '#!/bin/sh\necho configure arguments: --with-threads >&2\n' >"$dir/peers/nginx"
	printf '#!/bin/sh\necho no licence >&2; exit 1\n' >"$dir/peers/haproxy"
	chmod +x "$dir/peers"/*
	PATH=$dir/peers:$PATH sweep --rounds 1 --only relay --cells 2x64 \
		--servers nginx,haproxy,sluice_epoll
	(($? == 1)) || fail "a failed run did not show in the status"
	[[ $(ask '.env.missing // empty') == '["nginx: built without its stream module"]' ]] ||
		fail "missing are $(ask '.env.missing // empty')"
	grep -q 'MISSING: nginx: built without' "$dir/sweep.err" || fail "nginx was not named"
	grep -q 'haproxy .*FAILED: .*no licence' "$dir/sweep.err" || fail "haproxy was not named"
	[[ $(ask 'select(.round) | .run != null') == "true false" ]] || fail "other runs"
	[[ $(ask '.failed // empty') == '"it did not start: no licence"' ]] || fail "no reason"
	left_nothing
}

has_runs() { # COUNT
	[[ -e $dir/out/runs.jsonl ]] && (($(wc -l <"$dir/out/runs.jsonl") > $1))
}

# In the background, until it has measured something.
sweep_on() {
	own_tmp
	programs
	BIN=$dir/bin bench/sweep --out "$dir/out" --rounds 1000 --seconds 0.1 --warmup 0.02 \
		--only echo,relay --cells 2x64 --servers floor_epoll,sluice_epoll,sluice_io_uring \
		>"$dir/sweep.out" 2>"$dir/sweep.err" </dev/null &
	pid_of[sweep]=$!
	wait_until 20 has_runs 3 || fail "nothing was measured"
}

interrupted() {
	local status
	sweep_on
	kill -TERM "${pid_of[sweep]}"
	ends sweep 15
	((status == 130)) || fail "status $status"
	[[ -s $dir/out/report.md ]] || fail "no report"
	[[ $(ask 'select(.round) | .run != null') != *false* ]] || fail "it recorded half a run"
	left_nothing
}

killed() {
	need_command setpriv
	sweep_on
	kill -KILL "${pid_of[sweep]}"
	wait "${pid_of[sweep]}" 2>/dev/null
	unset "pid_of[sweep]"
	wait_until 10 no_process_left || fail "processes are left"
}

limit=60
once "wrong options" wrong_options
once "the plan" plan
once "a small sweep" small
once "peers of this host" peers_of_this_host
once "peers that lack something" peers_missing
once "interrupted, it reports" interrupted
once "killed, it leaves no server" killed
main "$@"
