# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # what bench/sweep sets
#
# What bench/sweep writes to RUNS.jsonl: a line about the machine, and a line for each run.

# TEXT as a string of JSON.
json_string() {
	local text=$1

	text=${text//\\/\\\\}
	text=${text//\"/\\\"}
	printf '"%s"' "${text//[[:cntrl:]]/ }"
}

json_strings() { # TEXT...
	local text comma=''

	for text; do
		printf '%s%s' "$comma" "$(json_string "$text")"
		comma=,
	done
}

versions() {
	local name

	printf '"sluice":%s' "$(json_string "$("$bin/sluice" --version | sed -n '1s/^sluice //p')")"
	for name in $peer_names; do
		[ -n "${lacks[$name]-}" ] || printf ',%s:%s' "$(json_string "$name")" \
			"$(json_string "$(peer_version "$name")")"
	done
	printf ',"liburing":%s' "$(json_string "$(pkg-config --modversion liburing 2>/dev/null)")"
}

write_env() {
	local memory cpu descriptors uses=${only:-all}

	[ -z "$quick" ] || uses=${only:-a few}
	memory=$(awk '/^MemTotal:/ { printf "%.0f", $2 * 1024 }' /proc/meminfo)
	cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
	descriptors=$(ulimit -n)
	[ "$descriptors" != unlimited ] || descriptors=null
	printf '{"env":{"date":"%s","kernel":%s,"cpu":%s,"cpus":%d,"memory_bytes":%s,' \
		"$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(json_string "$(uname -r)")" \
		"$(json_string "${cpu:-unknown}")" "$cpus" "$memory"
	printf '"descriptors":%s,"commit":%s,"load_average":%s,"versions":{%s},' "$descriptors" \
		"$(json_string "$(git describe --always --dirty 2>/dev/null || echo none)")" \
		"$(cut -d' ' -f1 /proc/loadavg)" "$(versions)"
	printf '"options":{"rounds":%d,"seconds":%s,"warmup_s":%s,"uses":%s},"missing":[%s]}}\n' \
		"$rounds" "$seconds" "$warmup" "$(json_string "$uses")" \
		"$(json_strings "${missing[@]}")"
}

number() { # KEY: of the run in `run`
	[[ $run =~ \"$1\":\ *([0-9.eE+-]+) ]] && echo "${BASH_REMATCH[1]}"
}

# A run, or why there is none.
record() { # ROW SERVER WHY
	local use=${plan_use[$1]} cell=${plan_cell[$1]}

	[ "$use" != latency_udp ] || use=latency
	printf '{"round":%d,"use":"%s","cell":"%s","connections":%d,"size":%d,"server":"%s",' \
		"$round" "$use" "${plan_label[$1]}" "${cell%x*}" "${cell#*x}" "$2"
	if [ -z "$3" ]; then
		printf '"workers":%d,"run":%s}\n' "${plan_workers[$1]}" "$run"
	else
		printf '"workers":%d,"run":null,"failed":%s}\n' "${plan_workers[$1]}" \
			"$(json_string "$3")"
	fi
}
