#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What somebody meets who starts the program: help, mistakes, refusals, logs, signals.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# Runs sluice to its end: its exit status in `status`, its output in $dir/run.out and run.err.
run() { # ARGUMENT...
	timeout 10 "$sluice" "$@" >"$dir/run.out" 2>"$dir/run.err" </dev/null
	status=$?
}

# A failure is one line on standard error, and nothing on standard output.
failed_with() { # STATUS TEXT...
	local text
	((status == $1)) || fail "status $status instead of $1: $(<"$dir/run.err")"
	[[ ! -s $dir/run.out ]] || fail "output on standard output: $(<"$dir/run.out")"
	(($(grep -c '^error: \|^sluice: ' "$dir/run.err") == 1)) ||
		fail "instead of one line: $(<"$dir/run.err")"
	for text in "${@:2}"; do
		grep -qF -- "$text" "$dir/run.err" || fail "no '$text' in: $(<"$dir/run.err")"
	done
}

version() {
	run --version
	((status == 0)) || fail "status $status"
	grep -qxE 'sluice [0-9]+\.[0-9]+\.[0-9]+' "$dir/run.out" ||
		fail "printed: $(<"$dir/run.out")"
	[[ ! -s $dir/run.err ]] || fail "printed on standard error: $(<"$dir/run.err")"
}

help_is_there() {
	local command
	for command in '' echo discard relay probe; do
		# shellcheck disable=SC2086 # nothing, or a word
		run help $command
		((status == 0)) || fail "help $command: status $status"
		grep -q "sluice $command" "$dir/run.out" || fail "help $command: no usage"
		[[ ! -s $dir/run.err ]] || fail "help $command: printed on standard error"
		awk 'length > 79 { exit 1 }' "$dir/run.out" ||
			fail "help $command: a line over 79 columns"
	done
	for command in echo discard relay probe; do
		cp "$dir/run.out" "$dir/before"
		run "$command" --help
		((status == 0)) || fail "$command --help: status $status"
		run help "$command"
		"$sluice" "$command" -h | cmp -s - "$dir/run.out" ||
			fail "$command -h is not help $command"
	done
	for command in -l --listen -t --to -b --backend -w --workers --cpus --max-conns --backlog \
		--connect-timeout --idle-timeout --drain-timeout --buffer-memory --log-level \
		--log-format; do
		"$sluice" help relay | grep -q -- "$command" ||
			fail "help relay does not name $command"
	done
}

# Each row: what the line has to name | the arguments.
wrong_arguments() {
	local text arguments
	while IFS='|' read -r text arguments; do
		[[ $text ]] || continue
		# shellcheck disable=SC2086 # words
		run ${arguments//PATH108/$(printf '/%0107d' 0)}
		failed_with 2 "$text"
	done <<-END
		a command is missing|
		'ecko'|ecko -l tcp:127.0.0.1:0
		no address to listen on|echo
		'-l 127.0.0.1:7'|echo -l 127.0.0.1:7
		'-l tcp:127.0.0.1'|echo -l tcp:127.0.0.1
		'-l tcp:127.0.0.1:'|echo -l tcp:127.0.0.1:
		'-l tcp:127.0.0.1:65536'|echo -l tcp:127.0.0.1:65536
		'-l tcp:127.0.0.1:-1'|echo -l tcp:127.0.0.1:-1
		'-l tcp:127.0.0.256:7'|echo -l tcp:127.0.0.256:7
		'-l tcp:::1:7'|echo -l tcp:::1:7
		'-l tcp:[::1:7'|echo -l tcp:[::1:7
		'-l tcp:[::g]:7'|echo -l tcp:[::g]:7
		'-l sctp:127.0.0.1:7'|echo -l sctp:127.0.0.1:7
		'-l unix:relative'|echo -l unix:relative
		107 bytes|echo -l unix:PATH108
		'-l tcp:127.0.0.1:7': given twice|echo -l tcp:127.0.0.1:7 -l tcp:127.0.0.1:7
		'-l': its value is missing|echo -l
		'--listen': its value is missing|echo --listen
		'--lisen'|echo --lisen tcp:127.0.0.1:0
		'-z'|echo -l tcp:127.0.0.1:0 -z
		'stray'|echo -l tcp:127.0.0.1:0 stray
		'-b kqueue'|echo -l tcp:127.0.0.1:0 -b kqueue
		'--backend iouring'|echo -l tcp:127.0.0.1:0 --backend iouring
		'-w 0'|echo -l tcp:127.0.0.1:0 -w 0
		'-w 257'|echo -l tcp:127.0.0.1:0 -w 257
		'-w two'|echo -l tcp:127.0.0.1:0 -w two
		'--cpus 1-0'|echo -l tcp:127.0.0.1:0 --cpus 1-0
		'--cpus x'|echo -l tcp:127.0.0.1:0 --cpus x
		'--max-conns 0'|echo -l tcp:127.0.0.1:0 --max-conns 0
		'--max-conns 99999999999'|echo -l tcp:127.0.0.1:0 --max-conns 99999999999
		'--backlog 0'|echo -l tcp:127.0.0.1:0 --backlog 0
		'--backlog 65536'|echo -l tcp:127.0.0.1:0 --backlog 65536
		'--connect-timeout 5x'|echo -l tcp:127.0.0.1:0 --connect-timeout 5x
		'--connect-timeout 0'|echo -l tcp:127.0.0.1:0 --connect-timeout 0
		'--idle-timeout -1s'|echo -l tcp:127.0.0.1:0 --idle-timeout -1s
		'--idle-timeout 1.5s'|echo -l tcp:127.0.0.1:0 --idle-timeout 1.5s
		'--drain-timeout soon'|echo -l tcp:127.0.0.1:0 --drain-timeout soon
		'--buffer-memory 1K'|echo -l tcp:127.0.0.1:0 --buffer-memory 1K
		'--buffer-memory lots'|echo -l tcp:127.0.0.1:0 --buffer-memory lots
		'--log-level loud'|echo -l tcp:127.0.0.1:0 --log-level loud
		'--log-format xml'|echo -l tcp:127.0.0.1:0 --log-format xml
		echo takes no target|echo -l tcp:127.0.0.1:0 -t tcp:127.0.0.1:7
		no target|relay -l tcp:127.0.0.1:0
		'-t tcp:127.0.0.1:0'|relay -l tcp:127.0.0.1:0 -t tcp:127.0.0.1:0
		'-t udp:127.0.0.1:7'|relay -l tcp:127.0.0.1:0 -t udp:127.0.0.1:7
		'-l udp:127.0.0.1:0'|relay -l tcp:127.0.0.1:0 -l udp:127.0.0.1:0 -t tcp:127.0.0.1:7
		'-t tcp:127.0.0.1:7'|relay -l tcp:0.0.0.0:7 -t tcp:127.0.0.1:7
		'--xml'|probe --xml
		'extra'|probe extra
		'nothing'|help nothing
		'extra'|--version extra
	END
}

start_up_lines() {
	sluice_start one echo -l tcp:127.0.0.1:0 -l udp:127.0.0.1:0 -l "unix:$dir/one.sock" -w 2
	cat >"$dir/expected" <<-END
		^listening tcp:127\.0\.0\.1:[1-9][0-9]* backend=$backend workers=2$
		^listening udp:127\.0\.0\.1:[1-9][0-9]* backend=$backend workers=2$
		^listening unix:$dir/one\.sock backend=$backend workers=2$
		^ready$
	END
	(($(wc -l <"$dir/one.out") == 4)) || fail "not four lines"
	paste -d '\n' "$dir/expected" "$dir/one.out" | while read -r expected && read -r line; do
		[[ $line =~ $expected ]] || echo "'$line' is not $expected"
	done >"$dir/differences"
	[[ ! -s $dir/differences ]] || fail "$(head -n 1 "$dir/differences")"
	(($(logged one "backend $backend: ") == 1)) || fail "the log does not tell the backend"
}

port_in_use() { # WORKERS KIND
	sluice_start one echo -l "$2:127.0.0.1:0" -w "$1"
	run echo -b "$backend" -l "$(address one)" -w "$1"
	failed_with 1 "$(address one)" "pick another port"
	# A single worker does not share; the other must not get in beside it either.
	run echo -b "$backend" -l "$(address one)" -w $((3 - $1))
	failed_with 1 "$(address one)" "pick another port"
}

wildcard_in_use() {
	local port
	sluice_start one echo -l tcp:0.0.0.0:0 -w 2
	port=$(address one)
	port=${port##*:}
	run echo -b "$backend" -l "tcp:127.0.0.1:$port" -w 2
	failed_with 1 "tcp:127.0.0.1:$port"
}

other_refusals() {
	run echo -b "$backend" -l tcp:192.0.2.1:0
	failed_with 1 tcp:192.0.2.1:0 "ip addr"
	run echo -b "$backend" -l tcp:no-such-host.invalid:0
	failed_with 1 no-such-host.invalid "check the name"
	run echo -b "$backend" -l "unix:$dir/no/such.sock"
	failed_with 1 "$dir/no/such.sock" "directory must exist"
	run echo -b "$backend" -l tcp:127.0.0.1:0 --max-conns 10000000
	failed_with 1 --max-conns "ulimit -n"
	run echo -b "$backend" -l tcp:127.0.0.1:0 -w 256 --buffer-memory 4M
	failed_with 2 --buffer-memory
}

unix_in_use() {
	local at=$dir/at.sock
	sluice_start one echo -l "unix:$at"
	run echo -b "$backend" -l "unix:$at"
	failed_with 1 "$at" "another program listens there"
	must peer connect "unix:$at" swap 1000 shut eof
	sluice_stop one
	[[ ! -e $at ]] || fail "the socket file is still there after the end"
	echo precious >"$at"
	run echo -b "$backend" -l "unix:$at"
	failed_with 1 "$at" "not a socket"
	[[ $(<"$at") == precious ]] || fail "a file that is no socket was touched"
}

unix_stale() {
	local at=$dir/at.sock
	sluice_start one echo -l "unix:$at"
	sluice_kill one
	[[ -S $at ]] || fail "no socket file is left to be replaced"
	# After a kill the kernel takes an io_uring apart in the background, its sockets with it.
	wait_until 5 refuses "unix:$at"
	sluice_start two echo -l "unix:$at"
	must peer connect "unix:$at" swap 1000 shut eof
}

# The program may be in a folder that others cannot enter.
as_nobody() { # ARGUMENT...
	cp "$sluice" "$dir/sluice"
	chmod 755 "$dir/sluice"
	${NS:+ip netns exec $NS} timeout 10 setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$dir/sluice" "$@" >"$dir/run.out" 2>"$dir/run.err"
	status=$?
}

privileged_port() {
	netns host
	NS=$host as_nobody echo -b "$backend" -l tcp:127.0.0.1:7
	failed_with 1 tcp:127.0.0.1:7 "CAP_NET_BIND_SERVICE"
	NS=$host as_nobody echo -b "$backend" -l udp:127.0.0.1:7 -w 2
	failed_with 1 udp:127.0.0.1:7 "CAP_NET_BIND_SERVICE"
}

summary() { # SIGNAL
	sluice_start one echo -l tcp:127.0.0.1:0 -l udp:127.0.0.1:0
	must peer connect "$(address one)" swap 1000 shut eof
	must peer datagram "$(address one 2)" send 10 recv 10
	reaches one conns_closed 1
	sluice_signal one "$1"
	sluice_stopped one
	grep -qE '^connections: 1 in [0-9]+\.[0-9] s, 1 closed$' "$dir/one.out" ||
		fail "no connections"
	grep -qx 'bytes: 1000 in, 1000 out' "$dir/one.out" || fail "no bytes"
	grep -q '^datagrams: 1 in, 1 out' "$dir/one.out" || fail "no datagrams"
	grep -q '^errors: 0' "$dir/one.out" || fail "no errors"
}

counters_on_signal() {
	sluice_start one echo -l tcp:127.0.0.1:0 -w 2
	must peer -n 10 connect "$(address one)" swap 1000 shut eof
	reaches one conns_closed 10
	counted one conns_accepted=10 bytes_in=10000 bytes_out=10000 err_conn_reset=0
	must peer connect "$(address one)" swap 1000 shut eof
	reaches one conns_closed 11
}

# What has been done is counted, also when nothing happens after it.
counters_are_current() {
	sluice_start one echo -w 1 -l tcp:127.0.0.1:0 -l udp:127.0.0.1:0
	peer_start client connect "$(address one 1)" swap 1000 say counted wait
	peer_says client counted
	reaches one bytes_out 1000 1
	must peer datagram "$(address one 2)" send 10 recv 10
	reaches one dgrams_out 1 1
	peer_go client
	peer_ends client
}

second_signal() {
	local now started
	peer_serve upstream listen tcp:127.0.0.1:0 wait
	sluice_start one relay -l tcp:127.0.0.1:0 -t "$(address upstream)" --drain-timeout 1h
	peer_start client connect "$(address one)" send 10 say sent is-gone
	peer_says client sent
	reaches one bytes_out 10
	sluice_signal one INT
	wait_until 5 refuses "$(address one)" || fail "it still accepts after the first signal"
	now_ms
	started=$now
	sluice_signal one INT
	ends one 5
	now_ms
	((now - started < 1000)) || fail "it took $((now - started)) ms to end"
	((status == 1)) || fail "status $status"
}

refuses() { # ADDRESS
	! peer -T 2 connect "$1" 2>/dev/null
}

json_log() {
	sluice_start one echo -l tcp:127.0.0.1:0 --log-format json --log-level debug \
		--max-conns 1 -w 1
	peer_start client connect "$(address one)" swap 10 say here wait
	peer_says client here
	peer_start next connect "$(address one)" say open is-gone
	reaches one pause_max_conns 1
	jq -se 'length > 1 and all(.[]; (.time | fromdateiso8601? // test("^\\d{4}-")) and
		(.level | IN("error", "warn", "info", "debug")) and (.msg | type == "string"))' \
		"$dir/one.err" >"$dir/jq.err" 2>&1 || fail "not JSON lines with time, level and msg"
	(($(wc -l <"$dir/one.err") == $(jq -c . "$dir/one.err" | wc -l))) ||
		fail "not one object a line"
	peer_go client
	peer_ends client
	peer_kill next
}

# Whoever reads the first line only, and goes.
output_closed() {
	local status
	mkfifo "$dir/pipe"
	head -n 1 "$dir/pipe" >"$dir/first" &
	"$sluice" echo -b "$backend" -l "unix:$dir/two.sock" >"$dir/pipe" 2>"$dir/two.err" &
	pid_of[two]=$!
	wait_until 5 test -s "$dir/first" || fail "nothing came through the pipe"
	kill -USR1 "${pid_of[two]}"
	must peer connect "unix:$dir/two.sock" swap 1000 shut eof
	kill -TERM "${pid_of[two]}"
	ends two 5
	((status == 0)) || fail "status $status"
}

probe() {
	run probe
	((status == 0)) || fail "status $status"
	grep -q 'Linux' "$dir/run.out" || fail "no kernel"
	grep -qE '^-b auto chooses (io_uring|epoll): ' "$dir/run.out" || fail "no word about auto"
	run probe --json
	((status == 0)) || fail "--json: status $status"
	jq -e '(.kernel | type == "string") and (.limits | type == "object") and
		(.features | length > 0) and (.auto.backend | IN("io_uring", "epoll")) and
		(.auto.reason | type == "string") and
		all(.features[]; (.found | type == "boolean") and
			(.found or (.why | type == "string")))' \
		"$dir/run.out" >/dev/null || fail "--json: not what was expected"
}

# io_uring is refused: auto takes epoll and says why, asking for it ends with the remedy.
falls_back() { # COMMAND...: what starts sluice
	: >"$dir/one.out"
	"$@" "$sluice" echo -l tcp:127.0.0.1:0 >"$dir/one.out" 2>"$dir/one.err" &
	pid_of[one]=$! is_server[one]=1
	wait_until 10 is_ready one
	grep -q '^listening .* backend=epoll ' "$dir/one.out" || fail "auto does not take epoll"
	grep -q 'backend epoll: .*io_uring.*refused' "$dir/one.err" || fail "auto does not say why"
	must peer connect "$(address one)" swap 1000 shut eof
	timeout 10 "$@" "$sluice" echo -b io_uring -l tcp:127.0.0.1:0 \
		>"$dir/run.out" 2>"$dir/run.err"
	status=$?
	failed_with 1 '-b io_uring' kernel.io_uring_disabled container epoll
	"$@" "$sluice" probe --json >"$dir/probe.out" || fail "probe: status $?"
	jq -e '.auto.backend == "epoll" and any(.features[]; .name == "setup" and (.found | not))' \
		"$dir/probe.out" >/dev/null || fail "probe does not tell"
}

forbidden_by_seccomp() {
	falls_back "$peer" without-io_uring
}

# 1 forbids it to whom is neither privileged nor in a group that may: 2 would forbid it to whatever
# else runs on this machine.
forbidden_by_sysctl() {
	local sysctl=/proc/sys/kernel/io_uring_disabled before
	need_root
	[[ -w $sysctl ]] || skip "no $sysctl that can be written"
	before=$(<"$sysctl")
	on_exit+=("echo $before >$sysctl")
	((before)) || echo 1 >"$sysctl"
	cp "$sluice" "$dir/sluice"
	sluice=$dir/sluice
	chmod 755 "$sluice"
	falls_back setpriv --reuid=65534 --regid=65534 --clear-groups
}

# What the README says first, in a terminal: Ctrl-C there reaches the server alone.
make_run() {
	local status keys folder
	need_command script
	folder=$(realpath --relative-to=. "$build")
	netns host
	mkfifo "$dir/keys"
	exec {keys}<>"$dir/keys"
	script -qefc "ip netns exec $host make --no-print-directory run B=$folder" "$dir/run.out" \
		<"$dir/keys" >/dev/null 2>"$dir/script.err" &
	pid_of[make]=$!
	wait_until 20 says_ready || fail "make run is not ready after 20 s"
	grep -q 'nc 127.0.0.1 7007' "$dir/run.out" || fail "it does not name something to try"
	grep -q 'backend .*: ' "$dir/run.out" || fail "it does not name the backend and why"
	NS=$host must peer connect tcp:127.0.0.1:7007 swap 1000 shut eof
	NS=$host must peer datagram udp:127.0.0.1:7007 send 10 recv 10
	printf '\003' >&"$keys"
	ends make 10
	((status == 0)) || fail "status $status after Ctrl-C"
	grep -q 'connections: 1 in .*, 1 closed' "$dir/run.out" || fail "no summary after Ctrl-C"
}

says_ready() {
	grep -qs '^ready' "$dir/run.out" || is_gone "${pid_of[make]}"
}

make_install() {
	[[ -w $build ]] || skip "needs to write to $build"
	local folder
	folder=$(realpath --relative-to=. "$build")
	must make -s install B="$folder" DESTDIR="$dir/root" PREFIX=/opt/x >"$dir/make.out"
	[[ $(stat -c %a "$dir/root/opt/x/bin/sluice") == 755 ]] || fail "not an executable file"
	[[ $("$dir/root/opt/x/bin/sluice" --version) == "$("$sluice" --version)" ]] ||
		fail "another version was installed"
	must make -s uninstall B="$folder" DESTDIR="$dir/root" PREFIX=/opt/x >"$dir/make.out"
	[[ -z $(find "$dir/root" -type f) ]] || fail "uninstall leaves files"
}

once "version" version
once "help" help_is_there
once "wrong arguments" wrong_arguments
once "probe" probe
once "io_uring forbidden by seccomp" forbidden_by_seccomp
each "start-up lines" start_up_lines
each "tcp port in use, one worker" port_in_use 1 tcp
each "tcp port in use, two workers" port_in_use 2 tcp
each "udp port in use, one worker" port_in_use 1 udp
each "udp port in use, two workers" port_in_use 2 udp
each "port in use on every address" wildcard_in_use
each "other refusals" other_refusals
each "unix path in use" unix_in_use
each "stale unix socket" unix_stale
each "privileged port" privileged_port
each "SIGINT prints the summary" summary INT
each "SIGTERM prints the summary" summary TERM
each "SIGUSR1 prints the counters" counters_on_signal
each "counters of an idle server" counters_are_current
each "second signal" second_signal
each "JSON log" json_log
each "standard output closed" output_closed
limit=60
alone "make run and Ctrl-C" make_run
alone "make install" make_install
alone "io_uring forbidden by sysctl" forbidden_by_sysctl
main "$@"
