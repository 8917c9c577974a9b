#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A minute of clients that come and go in every way there is, while upstreams are killed. In the end
# nothing may be left of them: descriptors, memory, connections, sessions.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/../system/lib.sh"

seconds=${CHURN_SECONDS:-60}
limit=$((seconds + 60))

# One client of many kinds. Whatever happens to it, the bytes that it gets are the right ones.
stream_client() { # ADDRESS
	case $((RANDOM % 9)) in
	0) peer -T 10 -n 20 connect "$1" close ;;
	1) peer -T 10 -n 20 connect "$1" reset ;;
	2) peer -T 10 -n 20 connect "$1" swap $((RANDOM + 1)) shut eof ;;
	3) peer -T 10 -n 20 connect "$1" send $((RANDOM + 1)) close ;;
	4) peer -T 10 -n 5 connect "$1" swap $((RANDOM * 30 + 1)) reset ;;
	5) peer -T 10 -B 8192 -n 3 connect "$1" swap $((RANDOM * 10 + 1)) shut eof ;;
	6) peer -T 10 connect "$1" fill 100000000 50 reset ;;
	7) peer -T 10 connect "$1" fill 100000000 50 shut recv-sent eof ;;
	8) timeout -s KILL "0.$((RANDOM % 9 + 1))" "$peer" connect "$1" swap 1000000000 ;;
	esac
}

stream_clients() { # ADDRESS END
	RANDOM=$3
	while ((SECONDS < $2)); do
		stream_client "$1"
	done >/dev/null 2>>"$dir/clients.log"
}

upstreams() { # END: kills and starts the second target again and again
	while ((SECONDS < $1)); do
		must peer datagram udp:127.0.0.1:9 pause 1500
		sluice_kill second
		must peer datagram udp:127.0.0.1:9 pause 200
		sluice_start second echo -w 1 -l "$second"
	done
}

settled() { # WHO
	counters "$1"
	((count[conns_accepted] == count[conns_closed])) &&
		((count[sessions_opened] == count[sessions_closed]))
}

clean_in_the_end() { # WHO DESCRIPTORS KIB
	wait_until 15 settled "$1" ||
		fail "$1: ${count[conns_accepted]} connections, ${count[conns_closed]} closed"
	wait_until 5 few_descriptors "$1" "$2" ||
		fail "$1 has $(descriptors "${pid_of[$1]}") descriptors instead of $2"
	rss_kib "${pid_of[$1]}"
	((rss_kib - $3 < 8192)) ||
		fail "$1: memory grew by $((rss_kib - $3)) KiB after its first seconds"
	((count[err_accept] == 0)) || fail "$1: ${count[err_accept]} accepts failed"
	echo "# $1: ${count[conns_accepted]} connections, ${count[bytes_in]} bytes," \
		"memory grew by $((rss_kib - $3)) KiB"
}

few_descriptors() { # WHO N
	(($(descriptors "${pid_of[$1]}") <= $2))
}

streams() {
	local first second relay_fds echo_fds relay_kib echo_kib end clients=() i
	sluice_start first echo -w 1 -l tcp:127.0.0.1:0
	sluice_start second echo -w 1 -l tcp:127.0.0.2:0
	first=$(address first) second=$(address second)
	sluice_start relay relay -l tcp:127.0.0.1:0 -t "$first" -t "$second"
	relay_fds=$(descriptors "${pid_of[relay]}") echo_fds=$(descriptors "${pid_of[first]}")
	end=$((SECONDS + seconds))
	for i in 1 2 3 4; do
		stream_clients "$(address relay)" $end "$i" &
		clients+=($!)
	done
	stream_clients "$first" $end 5 &
	clients+=($!)
	wait_until 30 count_has_reached relay conns_accepted 500
	rss_kib "${pid_of[relay]}"
	relay_kib=$rss_kib
	rss_kib "${pid_of[first]}"
	echo_kib=$rss_kib
	upstreams $end
	wait "${clients[@]}"
	! grep -m 1 'wrong bytes' "$dir/clients.log" >"$dir/wrong.err" ||
		fail "$(<"$dir/wrong.err")"
	clean_in_the_end relay "$relay_fds" "$relay_kib"
	clean_in_the_end first "$echo_fds" "$echo_kib"
	must peer -n 100 connect "$(address relay)" swap 10000 shut eof
}

datagram_clients() { # ADDRESS END
	while ((SECONDS < $2)); do
		peer -T 5 datagram "$1" many 20 $((RANDOM % 1400)) || return 1
	done 2>>"$dir/clients.log"
}

datagrams() {
	local fds kib end clients=() i
	peer_serve upstream -T 600 echo udp:127.0.0.1:0
	sluice_start relay relay -l udp:127.0.0.1:0 -t "$(address upstream)" --idle-timeout 1s
	fds=$(descriptors "${pid_of[relay]}")
	end=$((SECONDS + seconds))
	for i in 1 2 3 4; do
		datagram_clients "$(address relay)" $end &
		clients+=($!)
	done
	wait_until 30 count_has_reached relay sessions_opened 1000
	rss_kib "${pid_of[relay]}"
	kib=$rss_kib
	for i in "${clients[@]}"; do
		wait "$i" || fail "$(tail -n 1 "$dir/clients.log")"
	done
	clean_in_the_end relay "$fds" "$kib"
	echo "# ${count[sessions_opened]} sessions"
	peer_kill upstream
}

each "a minute of streams" streams
each "a minute of UDP sessions" datagrams
main "$@"
