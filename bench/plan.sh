# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154,SC2034 # what bench/sweep sets, and reads
#
# Which rows a round of bench/sweep has, with which servers, and how long that takes.

# --- what there is ---------------------------------------------------------------------------

missing=()
declare -A lacks=() # by server or use

look() {
	local name why

	[ "$cpus" -ge 2 ] || die "needs two cores: one for the server, one for the load"
	for name in sluice sluice-bench floor_epoll; do
		[ -x "$bin/$name" ] || die "$bin/$name is missing: run make"
	done
	for name in $server_names ${!with[*]}; do
		why=''
		case $name in
		floor_*) [ -x "$bin/$name" ] || why="$bin/$name is not built; run make" ;;
		haproxy* | nginx* | socat) why=$(peer_lacks "${name%_64k}") ;;
		esac
		[ -z "$why" ] || lacks[$name]=$why
	done
	why=$(net_lacks)
	[ -z "$why" ] || lacks[xdp]=$why
}

# Says once what is left out of what was asked for.
leave_out() { # NAME WHY
	local entry="$1: $2" old

	for old in "${missing[@]}"; do
		[ "$old" != "$entry" ] || return 0
	done
	missing+=("$entry")
	note "MISSING: $entry"
}

# --- the plan: the rows of a round -----------------------------------------------------------

plan_use=() plan_label=() plan_cell=() plan_workers=() plan_every=() plan_servers=()

# Which of the servers of a row can run, in `able`.
able_of() { # USE CELL
	local name

	able=''
	for name in $(servers_of "$1" "$2"); do
		[[ -z $servers || ,$servers, == *,$name,* || -n ${with[$name]-} ]] || continue
		if [ -n "${lacks[$name]-}" ]; then
			leave_out "$name" "${lacks[$name]}"
		else
			able+=" $name"
		fi
	done
}

add_row() { # USE LABEL CELL WORKERS
	local able needed

	needed=$((${3%x*} * $(descriptors_of "$1") + 200))
	if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt $needed ]; then
		leave_out "$1 $3" "needs $needed descriptors, the limit is $(ulimit -Hn)"
		return
	fi
	able_of "$1" "$3"
	[ -n "$able" ] || return 0
	plan_use+=("$1") plan_label+=("$2") plan_cell+=("$3") plan_workers+=("$4")
	plan_servers+=("$able")
	case $1 in # what no target hangs on runs every other round
	udp_echo | discard | kept_or_not | scale | xdp) plan_every+=($((${#only} ? 1 : 2))) ;;
	*) plan_every+=(1) ;;
	esac
}

cells_wanted() { # USE
	if [ -n "$cells" ]; then
		echo "${cells//,/ }"
	elif [ -n "$quick" ]; then
		quick_cells_of "$1"
	else
		cells_of "$1"
	fi
}

# 1, 2, 4 ... and the number of cores.
worker_counts() {
	local n

	for ((n = 1; n < cpus; n *= 2)); do
		echo $n
	done
	echo "$cpus"
}

add_use() { # USE
	local cell n

	for cell in $(cells_wanted "$1"); do
		case $1 in
		kept_or_not)
			add_row "$1" "$cell kept" "$cell" 1
			add_row "$1" "$cell each" "$cell" 1
			;;
		xdp)
			add_row "$1" "$cell off" "$cell" 1
			add_row "$1" "$cell on" "$cell" 1
			;;
		workers)
			for n in $(worker_counts); do
				add_row "$1" "$cell" "$cell" "$n"
			done
			;;
		latency) add_row "$1" "tcp $cell" "$cell" 1 ;;
		latency_udp) add_row "$1" "udp $cell" "$cell" 1 ;;
		*) add_row "$1" "$cell" "$cell" 1 ;;
		esac
	done
}

make_plan() {
	local use uses

	uses=${only//,/ }
	[ -n "$uses" ] || uses=$use_names
	[ -z "$quick" ] || [ -n "$only" ] || uses=$quick_names
	[[ " $uses " != *" latency "* ]] || uses+=" relay udp_relay latency_udp"
	for use in ${use_names/ latency / latency latency_udp }; do
		[[ " $uses " == *" $use "* ]] || continue
		if [ -n "${lacks[$use]-}" ]; then
			leave_out "$use" "${lacks[$use]}"
		else
			add_use "$use"
		fi
	done
	[ ${#plan_use[@]} -gt 0 ] || die "nothing to measure: none of the servers asked for" \
		"can run in any of the uses asked for"
}

# Prints the runs of a round and the seconds that they take.
cost_of_round() { # ROUND
	local i

	for i in "${!plan_use[@]}"; do
		(( ($1 - 1) % plan_every[i] == 0 )) || continue
		echo "$(wc -w <<<"${plan_servers[i]}") $(overhead_of "${plan_use[i]}" \
			"${plan_cell[i]%x*}")"
	done | awk -v each="$seconds" -v warmup="$warmup" '{ runs += $1
		cost += $1 * ($2 + each + warmup) } END { printf "%d %.1f\n", runs, cost }'
}

# Sets all_runs, all_cost (seconds) and the array cost_of by round.
estimate() {
	local round runs cost
	local -a known=()

	all_runs=0 all_cost=0
	for ((round = 1; round <= rounds; round++)); do
		[ -n "${known[round % 2]-}" ] || known[round % 2]=$(cost_of_round "$round")
		read -r runs cost <<<"${known[round % 2]}"
		all_runs=$((all_runs + runs))
		cost_of[round]=$cost
		all_cost=$(sum "$all_cost" "$cost")
	done
}

sum() {
	awk -v a="$1" -v b="$2" 'BEGIN { print a + b }'
}

as_time() { # SECONDS
	printf '%d:%02d' $((${1%.*} / 60)) $((${1%.*} % 60))
}

print_plan() {
	local i

	for i in "${!plan_use[@]}"; do
		printf '%-12s %-16s workers %-3s every %-6s %s\n' "${plan_use[i]}" \
			"${plan_label[i]}" "${plan_workers[i]}" \
			"$([ "${plan_every[i]}" = 1 ] && echo round || echo other)" \
			"${plan_servers[i]# }"
	done
}
