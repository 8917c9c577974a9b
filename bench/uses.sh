# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154,SC2034 # what bench/sweep sets, and reads
#
# What bench/sweep measures: for each use its cells and servers, how a server is started for it,
# and what the load does. What each row means: bench/README.md.

use_names="echo relay bulk churn udp_echo udp_relay discard kept_or_not workers scale latency xdp"
server_names="floor_epoll floor_uring sluice_epoll sluice_io_uring haproxy haproxy_64k nginx
	nginx_64k socat"
sluices="sluice_io_uring sluice_epoll"
floors="floor_epoll floor_uring"

# --- cells and servers -----------------------------------------------------------------------

# The cells of a use, CONNECTIONSxBYTES. A sweep of everything leaves two out for want of time.
cells_of() {
	case $1 in
	echo)
		echo {1,64,1000}x{64,65536} 64x4096
		[ -z "$only" ] || echo {1,1000}x4096
		;;
	relay) echo 1x64 64x64 1000x64 64x4096 16x65536 ;;
	bulk) echo 1x65536 ;;
	churn) echo 64x64 ;;
	udp_echo | udp_relay) echo 1x64 16x64 256x64 1x1400 16x1400 256x1400 ;;
	discard) echo 1x65536 64x4096 ;;
	kept_or_not) echo 64x64 ;;
	workers) echo 64x64 1000x64 ;;
	scale) echo 1x64 10x64 100x64 1000x64 10000x64 ;;
	latency) echo 64x64 1000x64 64x4096 16x65536 ;;
	latency_udp) cells_of udp_relay ;;
	xdp) echo 16x64 ;;
	esac
}

quick_names="echo relay bulk churn udp_relay"
quick_cells_of() {
	case $1 in
	echo) echo 64x64 1000x64 ;;
	udp_relay) echo 16x64 ;;
	relay) echo 64x64 1000x64 16x65536 ;;
	*) cells_of "$1" ;;
	esac
}

# servers_of USE CELL. socat takes one connection here: with more it starts a process for each.
# Buffers of 64 KiB are for large messages, and lose elsewhere.
servers_of() {
	local -a list

	case $1 in
	echo) list=("$floors" "$sluices") ;;
	kept_or_not | scale) list=(floor_epoll "$sluices") ;;
	udp_echo | discard | workers | xdp) list=("$sluices") ;;
	udp_relay | latency_udp) list=("$sluices" nginx) ;;
	*) list=("$sluices" haproxy nginx) ;;
	esac
	case $1:$2 in
	relay:*x65536 | bulk:*) list+=(haproxy_64k nginx_64k) ;;
	esac
	case $1:$2 in
	relay:1x* | bulk:1x*) list+=(socat) ;;
	esac
	for name in "${!with[@]}"; do
		with_does "${with[$name]}" "$1" && list+=("$name")
	done
	echo "${list[@]}"
}

# Whether a server of --with takes part in a use, from what its command names.
with_does() {
	local relays=no udp=no

	[[ $1 == *"{UPSTREAM}"* ]] && relays=yes
	[[ $1 == *"{TRANSPORT}"* ]] && udp=yes
	case $2 in
	echo | kept_or_not | scale) [ $relays = no ] ;;
	udp_echo) [ $relays$udp = noyes ] ;;
	relay | bulk | churn | latency) [ $relays = yes ] ;;
	udp_relay | latency_udp) [ $relays$udp = yesyes ] ;;
	*) false ;;
	esac
}

transport_of() { # USE
	case $1 in
	udp_* | latency_udp | xdp) echo udp ;;
	*) echo tcp ;;
	esac
}

# How many descriptors a server needs for each connection.
descriptors_of() { # USE
	case $1 in
	relay | bulk | churn | udp_relay | workers | latency*) echo 2 ;;
	*) echo 1 ;;
	esac
}

# Seconds that a run takes beside what it measures, for the estimate.
overhead_of() { # USE CONNECTIONS
	awk -v use="$1" -v n="$2" \
		'BEGIN { print 0.12 + n * (use ~ /udp/ ? 2e-5 : 1e-4) + (use == "xdp") * 0.3 }'
}

# --- servers ---------------------------------------------------------------------------------

# The strongest setting of the io_uring floor for each message size, see its header.
uring_buffers() {
	if [ "$1" -gt 16384 ]; then echo "65536 32"; else echo "4096 256"; fi
}

# The upstream of a relay, on the load's core; sets upstream to its port.
upstream_start() { # USE CPUS
	local command

	case $1 in
	bulk) command="$bin/sluice discard -l tcp:127.0.0.1:0 -w 1 -b epoll" ;;
	udp_relay | latency_udp) command="$bin/sluice echo -l udp:127.0.0.1:0 -w 1 -b epoll" ;;
	*) command="$bin/floor_epoll 0" ;;
	esac
	server_start "taskset -c $2 $command" "$scratch/upstream.err" || return
	upstream=$server_port
	pids=()
}

sluice_command() { # NAME USE WORKERS UPSTREAM
	local role=relay transport backend=${1#sluice_} listen

	transport=$(transport_of "$2")
	listen=$transport:127.0.0.1:0
	case $2 in
	echo | kept_or_not | scale | udp_echo) role="echo" ;;
	discard) role=discard ;;
	xdp) role="echo" listen=udp:$net_address:0 ;;
	esac
	echo "$bin/sluice $role -l $listen -w $3 --cpus $server_cpus -b $backend" \
		"${4:+-t $transport:127.0.0.1:$4}"
}

# measured_start USE SERVER CONNECTIONS SIZE WORKERS UPSTREAM: the server that is measured, on the
# cores $server_cpus; sets server_port and pids.
measured_start() {
	local command transport prefix="taskset -c $server_cpus" buffer=''

	transport=$(transport_of "$1")
	case $2 in
	floor_epoll) command="$bin/floor_epoll 0" ;;
	floor_uring) command="$bin/floor_uring 0 $(uring_buffers "$4")" ;;
	sluice_*) command=$(sluice_command "$2" "$1" "$5" "$6") ;;
	esac
	if [ -n "${with[$2]-}" ]; then
		command=${with[$2]}
		command=${command//'{BYTES}'/$4}
		command=${command//'{TRANSPORT}'/$transport}
		command=${command//'{UPSTREAM}'/127.0.0.1:$6}
	elif [[ " $peer_names " == *" ${2%_64k} "* ]]; then
		[[ $2 == *_64k ]] && buffer=64
		peer_start "${2%_64k}" "$transport" "$6" "$3" "$5" "$buffer" || return
		pids=("$server_pid" "${server_tree[@]}")
		return
	fi
	[ "$1" != xdp ] || prefix+=" $net_enter"
	server_start "$prefix $command $net_options" "$scratch/stderr" || return
	pids=("$server_pid" ${net_thread:+"$net_thread"})
}

# --- the load --------------------------------------------------------------------------------

# Fills load_options for a row. The load spins where the upstream does not share its core: waking
# it would be charged to the server.
load_options_of() { # USE LABEL CONNECTIONS SIZE WORKERS RATE
	load_options=(-c "$3" -s "$4" --cpus "$load_cpus" --warmup "$warmup" --duration "$seconds")
	case $1 in
	bulk) load_options+=(--pattern stream) ;;
	discard) load_options+=(--pattern stream --spin) ;;
	churn) load_options+=(--pattern churn) ;;
	kept_or_not)
		load_options+=(--spin)
		[[ $2 == *kept ]] || load_options+=(--pattern churn)
		;;
	echo | udp_echo | scale | xdp) load_options+=(--spin) ;;
	workers) load_options+=(--threads $(($3 < cpus ? $3 : cpus))) ;;
	latency*) load_options+=(--rate "$6") ;;
	esac
}

# --- the network of the filter ---------------------------------------------------------------

net_address=10.77.0.1 net_enter='' net_options='' net_thread='' net_load=()

# Prints why there can be no network of our own, or nothing.
net_lacks() {
	local command

	[ "$EUID" = 0 ] || {
		echo "needs root: it makes network namespaces and loads a BPF program"
		return
	}
	for command in ip ethtool unshare nsenter; do
		command -v $command >/dev/null || {
			echo "no $command (Debian: iproute2, ethtool, util-linux)"
			return
		}
	done
	"$bin/sluice" probe | grep -A 1 '^  filter  *no ' | sed '1d; s/^ *//'
}

# A namespace that lives as long as a process that does nothing; sets server_pid. It has a /sys of
# its own, in which its devices are.
net_hold() {
	local line

	# shellcheck disable=SC2016 # for another shell
	server_launch "$scratch/net.err" unshare --net --mount sh -c \
		'mount -t sysfs none /sys && ip link set lo up && echo held && exec sleep 600'
	read -r -t 5 -u "$server_fd" line && [ "$line" = held ]
}

net_in() { # PID COMMAND...
	nsenter --target "$1" --net --mount "${@:2}"
}

# One end of the cable. GRO makes a veth receive with NAPI whether or not there is a filter, so that
# both are the same but for the filter; whole checksums are what a network would carry.
net_end() { # PID DEVICE ADDRESS
	net_in "$1" ip addr add "$3/24" dev "$2" && net_in "$1" ip link set "$2" up &&
		net_in "$1" ethtool -K "$2" gro on tx off
}

# net_up LABEL: two namespaces with a cable between them; all that the server's end receives is
# worked on by a thread on the server's core, which counts as the server's.
net_up() {
	local client server cdev=xc$$ sdev=xs$$ comm

	net_hold || return
	client=$server_pid
	net_hold || return
	server=$server_pid
	{
		net_in "$client" ip link add "$cdev" type veth peer name "$sdev" netns "$server" &&
			net_end "$client" "$cdev" 10.77.0.2 &&
			net_end "$server" "$sdev" "$net_address" &&
			net_in "$server" sh -c "echo 1 >/sys/class/net/$sdev/threaded"
	} >/dev/null 2>>"$scratch/net.err" || return
	# shellcheck disable=SC2013 # paths without blanks
	for comm in $(grep -ls "^napi/$sdev-" /proc/[0-9]*/comm); do
		comm=${comm#/proc/}
		net_thread=${comm%/comm}
		taskset -p -c "$server_cpus" "$net_thread" >/dev/null
	done
	net_enter="nsenter --target $server --net"
	net_load=(nsenter --target "$client" --net)
	[[ $1 == *off ]] || net_options="--xdp $sdev --xdp-mode native --fast-path off"
	[ -n "$net_thread" ]
}
