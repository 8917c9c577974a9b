# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154 # what bench/xdp and xdp_net.sh set
#
# Part of bench/xdp: what the fast path serves, beside sockets.
#
# The server's machine is one core: what its interfaces receive, and the server. Both have the same
# priority, as they have by default, so that a server on sockets gets its half of the core under a
# flood. The other core is the clients' and the upstream's, where what is received comes before the
# flood and before programs, as interrupts would. All of it comes before what else runs here.
#
# Where times are taken the server has nothing to share its core with: receiving comes first, then
# the server, in real time. And an answer has arrived when the server has sent it: waking the
# clients' core is not the server's. Waking the server's is in it, which takes a virtual machine as
# long as all the rest; so the load is made on the server's core, too, where it is there at once.
#
# These are priorities of threads. Linux may share a core between the sessions of terminals first
# (autogroups), where a flood on one core takes from a server on the other, and an idle-class thread
# from both; so that is off for the run.
#
# Servers choose their ports: that of one which ended on io_uring is taken for some milliseconds.

fast_ports=64 media_sessions=500 media_rate=25000 media_bytes=172
fast_enter="nsenter --net=/run/netns/$net_server"
count_fd='' count_line='' group_fd=''

# For what is started from here on. On again when nobody has the pipe any more: this script and what
# it has started, however they end.
fast_ungroup() {
	local setting=/proc/sys/kernel/sched_autogroup_enabled

	[ "$(cat $setting 2>/dev/null)" = 1 ] || return 0
	exec {group_fd}> >(trap '' INT TERM && cat && echo 1 >$setting)
	echo 0 >$setting
}

fast_fair() { # PID
	chrt --other -p 0 "$1" && renice -n -20 -p "$1"
}

# fast_pin COMMAND...: what the server receives on $fast_devices, by threads that COMMAND is for.
fast_pin() {
	local dev

	for dev in $fast_devices; do
		net_threads "$net_server" "$dev" "$server_cpu" "$@" || return
	done
	net_threads "$net_client" "$net_cdev" "$flood_cpu" chrt --fifo -p 1
}

fast_relay_pin() {
	fast_pin "$@" && net_threads "$net_upstream" "$net_udev" "$flood_cpu" chrt --fifo -p 1
}

# For times.
fast_first() {
	"$@" chrt --fifo -p 2 && chrt --all-tasks --fifo -p 1 "$server_pid" &&
		net_threadless "$net_client" "$net_cdev"
}

# count NS DEV OPTIONS...: starts to count what arrives there; it is the last child then.
count() {
	local line

	exec {count_fd}< <(exec "${guard[@]}" nsenter --net="/run/netns/$1" "$bin/flood" count \
		--dev "$2" --seconds 600 "${@:3}")
	children+=($!)
	read -r -t 5 -u "$count_fd" line
	[ "$line" = ready ] || fail "counting at $2"
}

# count_window CHILD SECONDS: the counter starts anew, and ends after that; sets count_line. What
# was started behind it goes on.
count_window() {
	local counter=${children[$1]}

	kill -USR1 "$counter"
	pause "$2"
	count_end "$1"
}

count_end() {
	kill -TERM "${children[$1]}"
	read -r -t 5 -u "$count_fd" count_line || count_line=''
	exec {count_fd}<&-
}

# fast_flood RATE OPTIONS...: from so many clients, to the server.
fast_flood() {
	flood "${load_cpu:-$flood_cpu}" "$1" 600 --from 10.77.0.2/32 --from-port 20000 --to \
		"10.77.0.1:$server_port" "${@:2}" >"$scratch/flood"
}

# fast_served NS DEV RATE TO OPTIONS...: a flood, and what arrives at DEV from or for TO.
fast_served() {
	local counter=${#children[@]}

	count "$1" "$2" --to "$4" --from-port 20000 --ports "$fast_ports" "${@:5}"
	fast_flood "$3" --ports "$fast_ports" "${fast_stamps[@]}"
	pause 0.5
	count_window "$counter" "$window"
	stop || fail "the flood: $(tail -n 1 "$scratch/flood")"
	await || fail "the counter"
}

# Stops the servers of a row. One that has gone over to its sockets has not measured the fast path.
fast_stop() { # WHAT
	! grep 'no fast path' "$scratch/server" >"$scratch/gone" ||
		fail "$1: $(tail -n 1 "$scratch/gone")"
	servers_stop
}

# --- echo ------------------------------------------------------------------------------------

fast_echo_start() {
	local echo="$bin/sluice echo -l udp:10.77.0.1:0 -w 1"

	case $1 in
	floor) echo="$bin/floor_udp 0 10.77.0.1" ;;
	fast) echo+=" --xdp $net_sdev --fast-path on" ;;
	*) echo+=" -b $1" ;;
	esac
	server_start "taskset -c $server_cpu $fast_enter $echo" "$scratch/server"
}

# Sets count_line: datagrams that come back to the clients.
fast_echoed() { # RATE OPTIONS...
	fast_served "$net_client" "$net_cdev" "$1" "10.77.0.1:$server_port" --answers "${@:2}"
}

fast_delay() { # ROW LOAD KIND
	local fast_stamps=(--stamps) load_cpu=$flood_cpu

	fast_first fast_pin || fail "echo_$1: priorities"
	if [ "$3" = core ]; then
		load_cpu=$server_cpu
		net_threadless "$net_server" "$net_sdev" || fail "echo_$1: the interface"
	fi
	fast_echoed "$2" --stamps
	record "fast_$3" "$round" "$1" "$2" "$(value "$count_line" per_s)" \
		"$(value "$count_line" p50)" "$(value "$count_line" p99)"
	say "round $round/$n echo_$1 $3 at $2/s: $count_line"
}

fast_echo_row() {
	local fast_stamps=()

	if ! fast_echo_start "$1" || ! fast_pin fast_fair; then
		fail "echo: $1 does not start"
		return
	fi
	fast_echoed 0
	record fast_echo "$round" "$1" "$(value "$count_line" per_s)"
	say "round $round/$n echo_$1: $count_line; the flood: $(tail -n 1 "$scratch/flood")"
	fast_delay "$1" "$fast_load" delay
	[ "$1" != fast ] || fast_delay fast_own "$fast_own_load" delay
	fast_delay "$1" "$fast_load" core
	fast_stop "echo_$1"
}

# Sets fast_load and fast_own_load: a tenth of what the floor and the fast path answer.
fast_calibrate() {
	local fast_stamps=() row loads=()

	for row in floor fast; do
		fast_echo_start $row && fast_pin fast_fair || return
		fast_echoed 0
		servers_stop
		loads+=($(($(value "$count_line" per_s | cut -d. -f1) / 10)))
	done
	fast_load=${loads[0]} fast_own_load=${loads[1]}
	say "echo: a tenth of what floor and fast path answer: $fast_load/s, $fast_own_load/s"
	[ "$fast_load" -gt 0 ] && [ "$fast_own_load" -gt 0 ]
}

# --- relay -----------------------------------------------------------------------------------

fast_relay_start() {
	local relay="$bin/sluice relay -l udp:10.77.0.1:0 -t udp:10.78.0.2:7008 -w 1"
	local server_cpus=$server_cpu peer_listen=10.77.0.1 peer_target=10.78.0.2 peer_enter

	read -ra peer_enter <<<"$fast_enter"
	case $1 in
	nginx) peer_start nginx udp 7008 "$fast_ports" 1 ;;
	*)
		[ "$1" != fast ] && relay+=" -b $1"
		[ "$1" = fast ] && relay+=" --xdp $net_sdev --xdp $net_rdev --fast-path on"
		server_start "taskset -c $server_cpu $fast_enter $relay" "$scratch/server"
		;;
	esac
}

# One way, from the clients to the upstream, which does not answer.
fast_relay_row() {
	local fast_stamps=()

	if ! fast_relay_start "$1" || ! fast_relay_pin fast_fair; then
		fail "relay: $1 does not start"
		return
	fi
	fast_served "$net_upstream" "$net_udev" 0 10.78.0.2:7008
	record fast_relay "$round" "$1" "$(value "$count_line" per_s)"
	say "round $round/$n relay_$1: $count_line; the flood: $(tail -n 1 "$scratch/flood")"
	[ "$1" = nginx ] || fast_stop "relay_$1"
	servers_stop
}

# Both ways: calls of fifty datagrams a second. Sessions are opened before anything counts.
fast_media_flood() {
	local counter=${#children[@]} options=(--ports "$media_sessions" --stamps)

	count "$net_client" "$net_cdev" --answers --to "10.77.0.1:$server_port" \
		--from-port 20000 "${options[@]}"
	fast_flood "$media_rate" "${options[@]}" --bytes "$media_bytes"
	pause 0.5
	stop || fail "the flood: $(tail -n 1 "$scratch/flood")"
	pause 0.1
	kill -USR1 "${children[counter]}"
	fast_flood "$media_rate" "${options[@]}" --bytes "$media_bytes"
	pause "${seconds:-4}"
	stop || fail "the flood: $(tail -n 1 "$scratch/flood")"
	pause 0.2
	count_end "$counter"
	await || fail "the counter"
}

fast_media_row() {
	local relay_port sent upstream="$bin/floor_udp 7008 10.78.0.2"

	if ! fast_relay_start "$1" || ! fast_first fast_relay_pin; then
		fail "media: $1 does not start"
		return
	fi
	relay_port=$server_port
	server_start "taskset -c $flood_cpu chrt --fifo 1 nsenter \
		--net=/run/netns/$net_upstream $upstream" "$scratch/upstream" ||
		fail "media: the upstream"
	server_port=$relay_port
	fast_media_flood
	sent=$(value "$(tail -n 1 "$scratch/flood") " sent)
	record fast_media "$round" "$1" "$sent" "$(value "$count_line" frames)" \
		"$(value "$count_line" jitter)" "$(value "$count_line" jitter_max)" \
		"$(value "$count_line" p50)" "$(value "$count_line" p99)"
	say "round $round/$n media_$1: sent=$sent $count_line"
	fast_stop "media_$1"
}

# --- all -------------------------------------------------------------------------------------

# fast_rows FUNCTION ROW...: in an order that rotates.
fast_rows() {
	local rows=("${@:2}") i

	for ((i = 0; i < ${#rows[@]}; i++)); do
		"$1" "${rows[(i + round - 1) % ${#rows[@]}]}"
	done
}

fast() {
	local n=${rounds:-5} window=${seconds:-2} round relays=(io_uring epoll fast)
	local fast_load fast_own_load lacks fast_devices=$net_sdev

	lacks=$(peer_lacks nginx)
	if [ -z "$lacks" ]; then
		relays+=(nginx)
	else
		missing relay_nginx "nginx: $lacks"
	fi
	net_relay_up || die "no network namespaces"
	taskset -p -c "$flood_cpu" $$ >/dev/null
	renice -n -20 -p $$ >/dev/null # and all that it starts
	fast_ungroup
	# A virtual core that sleeps takes longer to wake than the queue of a veth lasts.
	start chrt --idle 0 taskset -c "$server_cpu" bash -c 'while :; do :; done'
	if fast_calibrate; then
		for ((round = 1; round <= n; round++)); do
			fast_devices=$net_sdev
			fast_rows fast_echo_row floor io_uring epoll fast
			fast_devices="$net_sdev $net_rdev"
			fast_rows fast_relay_row "${relays[@]}"
			fast_rows fast_media_row io_uring epoll fast
		done
	else
		fail "the fast path, or the floor, answers nothing: $(tail -n 1 "$scratch/server")"
	fi
	stop || true
	[ -z "$group_fd" ] || exec {group_fd}>&-
	renice -n 0 -p $$ >/dev/null
	net_delete
}
