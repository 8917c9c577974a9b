# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154 # what bench/xdp and xdp_net.sh set
#
# Part of bench/xdp: what a flood does, and how exact a limit is.

# flood CPU RATE SECONDS OPTIONS...: in the background, rate 0 for as many as go.
flood() {
	local rate=()

	[ "$2" = 0 ] || rate=(--rate "$2")
	start nsenter --net="/run/netns/$net_client" "$bin/flood" send --dev "$net_cdev" \
		--to-mac "$net_smac" --cpu "$1" --seconds "$3" "${rate[@]}" "${@:4}"
}

# Frames per second between two samples: offered, received and dropped; and the share of its core,
# in per cent, that the thread got which receives.
flood_rates() {
	awk -v name="$1" '{
		s = $8 - $1; taken = $10 + $11 - $3 - $4; up = $12 - $5; nft = $13 - $6
		dropped = name == "none" ? 0 : name ~ /^nft/ ? nft : taken - up
		printf "%.0f,%.0f,%.0f,%.1f\n", ($9 - $2) / s, taken / s, dropped / s,
			($14 - $7) / s / 1e7
	}' <<<"$2 $3"
}

# A flood of all that one core makes, and how much of it the filter drops.
flood_drops() {
	local before after rates

	flood "$flood_cpu" 0 60 --from 198.18.0.0/16 --to 10.77.0.1:7007 >"$scratch/flood"
	pause 0.3
	before=$(net_sample "$(filter_table "$1")")
	pause "${seconds:-2}"
	after=$(net_sample "$(filter_table "$1")")
	stop || fail "$1: the flood: $(tail -n 1 "$scratch/flood")"
	rates=$(flood_rates "$1" "$before" "$after")
	record flood "$round" "$1" "$rates"
	awk -F, -v name="$1" -v round="round $round/$n" '{
		printf "%s %s: %.0f/s offered, %.0f/s received, %.0f/s dropped, core %.1f %%\n",
			round, name, $1, $2, $3, $4 }' <<<"$rates" >&2
	[ "$(cut -d, -f2 <<<"$rates")" -gt 0 ] || fail "$1: nothing of the flood has arrived"
}

# What the receiver takes for a frame of a flood that is made on its own core. A frame from the
# other core, and its memory on the way back, cost more than any filter; a network card costs
# neither.
flood_frame() {
	local before after ns

	net_pin "$flood_cpu" || return
	flood "$flood_cpu" 0 60 --from 198.18.0.0/16 --to 10.77.0.1:7007 >"$scratch/flood"
	pause 0.3
	before=$(net_sample '')
	pause 1
	after=$(net_sample '')
	stop || fail "$1: the flood"
	ns=$(awk '{ n = $10 - $3; printf "%.2f", (n ? ($14 - $7) / n : 0) }' \
		<<<"$before $after")
	record frame "$round" "$1" "$ns"
	say "round $round/$n $1: receiver's CPU per frame: $ns ns"
	net_pin "$server_cpu"
}

# A client with another address, through the same interface, while a flood goes on.
flood_client() {
	local before after rates line

	flood "$flood_cpu" "$client_flood" 60 --from 198.18.0.0/16 --to 10.77.0.1:7007 \
		>"$scratch/flood"
	pause 0.3
	before=$(net_sample "$(filter_table "$1")")
	start nsenter --net="/run/netns/$net_client" "$bin/flood" ask --to 10.77.0.1:7007 \
		--rate 1000 --seconds "${seconds:-2}" --cpu "$flood_cpu" >"$scratch/ask"
	await || fail "$1: the client"
	after=$(net_sample "$(filter_table "$1")")
	stop || fail "$1: the flood"
	line=$(<"$scratch/ask")
	rates=$(flood_rates "$1" "$before" "$after")
	record client "$round" "$1" "${rates%%,*}" "$(value "$line" asked)" \
		"$(value "$line" answered)"
	say "round $round/$n $1: flood ${rates%%,*}/s, client: $line"
}

# The server's machine is one core: what receives, and the echo server. The flood, the client and
# this script have the other one.
flood_row() {
	local echo="$bin/sluice echo -l tcp:127.0.0.1:0 -l udp:10.77.0.1:7007 -w 1"

	if ! filter_on "$1" 2>"$scratch/on"; then
		missing "$1" "$(tail -n 1 "$scratch/on")"
		failed=1
		return
	fi
	net_pin "$server_cpu" || fail "$1: threads of the interface"
	if server_start "taskset -c $server_cpu nsenter --net=/run/netns/$net_server $echo" \
		"$scratch/echo"; then
		flood_drops "$1"
		flood_client "$1"
		flood_frame "$1" || fail "$1: threads of the interface"
		servers_stop
	else
		fail "$1: the echo server"
	fi
	filter_off "$1" || fail "$1: cannot be taken off"
}

floods() {
	local n=${rounds:-5} round i rows

	rows=(none sluice_native sluice_generic nft_ingress nft_prerouting nft_input)
	if ! command -v nft >/dev/null; then
		missing "nft_ingress nft_prerouting nft_input" "nft is not installed"
		rows=(none sluice_native sluice_generic)
	fi
	net_up 1 || die "no network namespaces"
	taskset -p -c "$flood_cpu" $$ >/dev/null
	# A virtual core that sleeps takes longer to wake than the queue of a veth lasts.
	start chrt --idle 0 taskset -c "$server_cpu" bash -c 'while :; do :; done'
	for ((round = 1; round <= n; round++)); do
		for ((i = 0; i < ${#rows[@]}; i++)); do
			flood_row "${rows[(i + round - 1) % ${#rows[@]}]}"
		done
	done
	stop || true
	net_delete
}

# --- how exact a limit is --------------------------------------------------------------------

# What the filter itself has counted as passed.
limit_passed() {
	in_ns "$net_server" "$bin/sluice" xdp stats "$net_sdev" --json | tr -d ' \n' |
		sed -n 's/.*"verdicts":{"pass":{"packets":\([0-9]*\).*/\1/p'
}

# A flood from each core. The veth has two queues: a frame goes into that of the core which sends
# it and is received there, so that the filter runs on both at once. Nobody has the address.
limit_round() {
	local before after passed cpu options line

	options="--from 198.18.0.1/32 --from-port 40000 --to 10.77.0.9:7007"
	before=$(net_sample '')
	passed=$(limit_passed)
	for cpu in 0 1; do
		# shellcheck disable=SC2086 # words
		flood $cpu $((limit_flood / 2)) "${seconds:-10}" $options >"$scratch/limit$cpu"
	done
	await || fail "limit: the flood"
	await || fail "limit: the flood"
	pause 0.2
	after=$(net_sample '')
	passed=$(($(limit_passed) - passed))
	line=$(awk -v rate="$limit_rate" -v burst="$limit_burst" -v sluice="$passed" \
		-v samples="$before $after" '
		{
			for (i = 1; i <= NF; i++) {
				split($i, part, "=")
				if (part[1] == "sent") sent += part[2]
				if (part[1] == "start" && (!start || part[2] < start))
					start = part[2]
				if (part[1] == "end" && part[2] > end) end = part[2]
			}
		}
		END {
			split(samples, s, " ")
			printf "%.3f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f\n", end - start, sent,
				s[10] - s[3], s[11] - s[4], rate * (end - start) + burst,
				s[12] - s[5], sluice
		}' "$scratch/limit0" "$scratch/limit1")
	record limit "$round" "$line"
	say "round $round/$n limit: seconds,sent,core 0,core 1,allowed,passed,counted: $line"
}

limits() {
	local n=${rounds:-3} round

	net_up 2 || die "no network namespaces"
	printf '%s\n' "default pass" \
		"limit to-port 7007 rate $limit_rate burst $limit_burst per source" \
		>"$scratch/rules"
	for ((round = 1; round <= n; round++)); do
		if ! filter_sluice_on "$scratch/rules" native 2>"$scratch/on"; then
			missing limit "$(tail -n 1 "$scratch/on")"
			failed=1
			break
		fi
		limit_round
		filter_off sluice_native || fail "limit: the filter cannot be taken off"
	done
	net_delete
}
