# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Starting and stopping servers, for the scripts beside it. A server prints a line
# `listening tcp:HOST:PORT ...` (or udp:) and then `ready` on standard output. It ends with the
# script that started it, however that ends.

server_pid='' server_port='' server_fd=''
server_pids=() server_fds=()
server_tree=() # processes that servers started themselves

# server_launch LOG COMMAND...: runs it and waits for nothing; sets server_pid and server_fd, which
# reads its standard output.
server_launch() {
	local log=$1 fd guard=()

	shift
	command -v setpriv >/dev/null && guard=(setpriv --pdeathsig TERM)
	# The process substitution is replaced by the server, so $! is the server's own pid.
	exec {fd}< <(exec "${guard[@]}" "$@" 2>"$log")
	server_pid=$!
	server_fd=$fd
	server_pids+=("$server_pid") server_fds+=("$fd")
}

# server_start COMMAND LOG: runs it and waits for `ready`; sets server_pid and server_port.
server_start() {
	local line

	# shellcheck disable=SC2086 # a command line, split on purpose
	server_launch "$2" $1
	server_port=''
	while read -r -t 5 -u "$server_fd" line; do
		[[ $line =~ ^listening\ (tcp|udp):[^\ ]*:([0-9]+) ]] &&
			server_port=${BASH_REMATCH[2]}
		[ "$line" = ready ] && [ -n "$server_port" ] && return 0
	done
	echo "${0##*/}: \`$1\` did not start: $(tail -n 1 "$2")" >&2
	servers_stop
	return 1
}

# Waits at most so long for the end of a server: until nobody holds its standard output any more.
server_ended() { # FD SECONDS
	read -r -t "$2" -N 1000000 -u "$1" _
	[ $? -eq 1 ]
}

# Ends one that has been asked to: a second request ends sluice at once, which else may wait for
# answers; then by force.
server_reap() { # PID FD
	local fd=$2

	server_ended "$fd" 0.03 || {
		kill -TERM "$1" 2>/dev/null
		server_ended "$fd" 2
	} || kill -KILL "$1" "${server_tree[@]}" 2>/dev/null
	exec {fd}<&-
	wait "$1" 2>/dev/null
}

# Stops all that were started, by pid.
servers_stop() {
	local i

	[ ${#server_pids[@]} -eq 0 ] || kill -TERM "${server_pids[@]}" 2>/dev/null
	for i in "${!server_pids[@]}"; do
		server_reap "${server_pids[i]}" "${server_fds[i]}"
	done
	server_pids=() server_fds=() server_tree=()
}

# Stops the one that was started last.
server_drop() {
	kill -TERM "${server_pids[-1]}" 2>/dev/null
	server_reap "${server_pids[-1]}" "${server_fds[-1]}"
	unset 'server_pids[-1]' 'server_fds[-1]'
	server_tree=()
}
