# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Starting and stopping servers, for the scripts beside it. A server prints a line
# `listening tcp:HOST:PORT ...` and then `ready` on standard output.

server_pid='' server_port=''
server_pids=() server_fds=()

# server_start COMMAND LOG: runs it and waits for `ready`; sets server_pid and server_port.
server_start() {
	local line fd

	# The process substitution is replaced by the server, so $! is the server's own pid.
	# shellcheck disable=SC2086 # a command line, split on purpose
	exec {fd}< <(exec $1 2>"$2")
	server_pid=$!
	server_pids+=("$server_pid") server_fds+=("$fd")
	server_port=''
	while read -r -t 5 -u "$fd" line; do
		[[ $line =~ ^listening\ tcp:[^\ ]*:([0-9]+) ]] && server_port=${BASH_REMATCH[1]}
		[ "$line" = ready ] && [ -n "$server_port" ] && return 0
	done
	echo "${0##*/}: \`$1\` did not start: $(tail -n 1 "$2")" >&2
	servers_stop
	return 1
}

# Stops all that were started, by pid: asked first, killed after two seconds.
servers_stop() {
	local pid fd

	for pid in "${server_pids[@]}"; do
		kill -TERM "$pid" 2>/dev/null
		for _ in {1..100}; do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.02
		done
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	for fd in "${server_fds[@]}"; do
		exec {fd}<&-
	done
	server_pids=() server_fds=()
}
