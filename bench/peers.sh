# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154,SC2034 # what the script that reads it sets, and reads
#
# Relays of others to measure against: HAProxy, nginx stream and socat, each in the foreground with
# a configuration of its own in $scratch. Nothing of the system's is read or written, and all of
# them relay one listener to one upstream on 127.0.0.1, without logs, health checks or limits that
# they could meet. nginx does so between other addresses and behind a command when $peer_listen,
# $peer_target and $peer_enter are set. What was tried for their settings: bench/README.md.

peer_names="haproxy nginx socat"
PATH=$PATH:/usr/sbin:/sbin # where Debian keeps them, which users do not search

# What nginx was built with: the folder of its modules, and whether the stream module is one.
nginx_built() {
	nginx -V 2>&1 | tr ' ' '\n'
}

nginx_stream_module() {
	local folder

	nginx_built | grep -qx -e '--with-stream=dynamic' || return
	folder=$(nginx_built | sed -n 's/^--modules-path=//p')
	echo "${folder:-/usr/lib/nginx/modules}/ngx_stream_module.so"
}

# Prints why a peer cannot run, or nothing.
peer_lacks() {
	local module

	command -v "$1" >/dev/null || {
		echo "not installed; run 'make bench-deps'"
		return
	}
	[ "$1" = nginx ] || return 0
	nginx_built | grep -qxE -e '--with-stream(=dynamic)?' || {
		echo "built without its stream module"
		return
	}
	module=$(nginx_stream_module)
	[ -z "$module" ] || [ -r "$module" ] ||
		echo "no stream module (Debian: libnginx-mod-stream); run 'make bench-deps'"
}

peer_version() {
	case $1 in
	haproxy) haproxy -v | sed -n '1s/.*version \([^ ]*\).*/\1/p' ;;
	nginx) nginx -v 2>&1 | sed -n 's/.*nginx\///p' ;;
	socat) socat -V | sed -n 's/^socat version \([^ ]*\).*/\1/p' ;;
	esac
}

# --- configurations --------------------------------------------------------------------------

# Buffers are the default of 16 KiB, which is the best for small messages and for one stream, or of
# 64 KiB, which is the best for messages of that size: two servers in the tables.

# HAProxy: maxconn is what is needed, for it sizes its tables.
haproxy_config() { # PORT UPSTREAM CONNS WORKERS BUFFER
	cat <<-END
	global
		nbthread $4
		maxconn $(($3 + 100))
		tune.bufsize $5
	defaults
		mode tcp
		backlog 4096
		timeout connect 10s
		timeout client 1h
		timeout server 1h
	listen relay
		bind 127.0.0.1:$1
		server upstream 127.0.0.1:$2
	END
}

# nginx: a UDP session lives for the idle time that sluice's do, and takes any number of answers
# (no proxy_responses).
nginx_config() { # DIR TRANSPORT PORT UPSTREAM CONNS WORKERS BUFFER
	local module options='reuseport backlog=4096' timeout=1h

	module=$(nginx_stream_module)
	[ -z "$module" ] || echo "load_module $module;"
	# Without root the directive is ignored with a warning; with it, workers stay who they are.
	[ "$EUID" != 0 ] || echo "user $(id -un) $(id -gn);"
	[ "$2" = udp ] && options='udp reuseport' timeout=60s
	cat <<-END
	daemon off;
	worker_processes $6;
	pid $1/nginx.pid;
	error_log stderr error;
	events {
		worker_connections $((2 * $5 + 200));
	}
	stream {
		access_log off;
		server {
			listen ${peer_listen:-127.0.0.1}:$3 $options;
			proxy_pass ${peer_target:-127.0.0.1}:$4;
			proxy_timeout $timeout;
			proxy_buffer_size $7;
		}
	}
	END
}

# --- starting --------------------------------------------------------------------------------

# Whether somebody listens: sockets in state LISTEN, or bound ones of UDP.
port_used() { # TRANSPORT PORT [PID]: where that process sees it
	local hex state=0A

	printf -v hex ':%04X' "$2"
	[ "$1" = udp ] && state=07
	awk -v port="$hex" -v state="$state" \
		'$4 == state && substr($2, 9) == port { found = 1; exit } END { exit !found }' \
		"/proc/${3:-self}/net/$1"
}

# Sets port to a free one, below those that the kernel hands out for port 0.
port_choose() {
	for _ in {1..100}; do
		port=$((10000 + RANDOM % 20000))
		port_used "$1" "$port" || return 0
	done
	return 1
}

# Prints the processes that PID has started.
children_of() {
	cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\([0-9]*\) (.*) [A-Z] '"$1"' .*/\1/p'
}

peer_ready() { # NAME TRANSPORT PORT PID WORKERS
	local tree

	case $1 in
	nginx)
		port_used "$2" "$3" "$4" || return
		mapfile -t tree < <(children_of "$4")
		[ ${#tree[@]} -ge "$5" ] || return
		server_tree+=("${tree[@]}")
		;;
	socat) port_used "$2" "$3" ;; # it takes one connection only
	*) (exec 3<>"/dev/tcp/127.0.0.1/$3") 2>/dev/null ;;
	esac
}

peer_launch() { # NAME TRANSPORT PORT UPSTREAM CONNS WORKERS KIB
	local pin=(taskset -c "$server_cpus") dir=$scratch/$1

	mkdir -p "$dir"
	case $1 in
	haproxy)
		haproxy_config "$3" "$4" "$5" "$6" "$((${7:-16} * 1024))" >"$dir/haproxy.cfg"
		server_launch "$scratch/stderr" "${pin[@]}" haproxy -db -f "$dir/haproxy.cfg"
		;;
	nginx)
		nginx_config "$dir" "$2" "$3" "$4" "$5" "$6" "${7:-16}k" >"$dir/nginx.conf"
		server_launch "$scratch/stderr" "${pin[@]}" "${peer_enter[@]}" nginx -e stderr \
			-p "$dir" -c "$dir/nginx.conf"
		;;
	socat)
		server_launch "$scratch/stderr" "${pin[@]}" socat -b $((${7:-64} * 1024)) \
			"TCP-LISTEN:$3,bind=127.0.0.1,reuseaddr,nodelay" \
			"TCP:127.0.0.1:$4,nodelay"
		;;
	esac
}

# peer_start NAME TRANSPORT UPSTREAM CONNS WORKERS [KIB]: starts it on the cores $server_cpus and
# waits until it accepts; sets server_pid and server_port. A port that somebody else takes in
# between costs a try.
peer_start() {
	local port deadline

	for _ in 1 2 3; do
		port_choose "$2" || return
		peer_launch "$1" "$2" "$port" "${@:3}"
		server_port=$port
		deadline=$((SECONDS + 5))
		while kill -0 "$server_pid" 2>/dev/null && [ $SECONDS -lt $deadline ]; do
			peer_ready "$1" "$2" "$port" "$server_pid" "$5" && return 0
			sleep 0.01
		done
		server_drop
	done
	echo "${0##*/}: $1 did not start: $(tail -n 1 "$scratch/stderr")" >&2
	return 1
}
