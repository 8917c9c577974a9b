# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the system tests share. A script sources this file, defines functions, lists its cases and
# ends with `main "$@"`:
#
#   each  NAME FUNCTION [ARGUMENT...]	a case for each backend; $backend tells which
#   once  NAME FUNCTION [ARGUMENT...]	a case that has nothing to do with backends
#   alone NAME FUNCTION [ARGUMENT...]	the same, while no other case runs
#
# `tests/system/NAME.sh WORD` runs only the cases whose names contain WORD. Each case is a process
# with a time limit ($limit at the time of listing, in seconds), a folder of its own ($dir) and a
# clean-up that runs however it ends. Every case prints one line:
#
#   ok NAME | not ok NAME: why | skip NAME: why
#
# Waiting is for events, with a generous limit; nothing waits for time to pass.

set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
build=$(realpath "${BUILD:-build}")
peer=$build/peer
script=$(realpath "$0")
export LC_ALL=C

limit=30
case_names=() case_backends=() case_calls=() case_limits=() case_alone=()

# ---- listing and running cases ----

list_case() { # NAME BACKEND ALONE FUNCTION [ARGUMENT...]
	case_names+=("$1")
	case_backends+=("$2")
	case_alone+=("$3")
	case_calls+=("$(printf '%q ' "${@:4}")")
	case_limits+=("$limit")
}

each() {
	list_case "$1 [epoll]" epoll no "${@:2}"
	list_case "$1 [io_uring]" io_uring no "${@:2}"
}
once() { list_case "$1" auto no "${@:2}"; }
alone() { list_case "$1" auto yes "${@:2}"; }

# Cases may redirect what they run, in loops too; results go to where output went at first.
fail() { # WHY
	local file
	exec >&"$report"
	echo "not ok $case: $*"
	for file in "$dir"/*.{out,err}; do
		[[ -s $file ]] || continue
		echo "#   ${file##*/}:"
		tail -n 40 "$file" | cut -c 1-300 | sed 's/^/#     /'
	done
	exit 0
}

skip() { # WHY
	echo "skip $case: $*" >&"$report"
	exit 0
}

declare -A pid_of=() input_of=()
namespaces=() on_exit=()

cleanup() {
	local command name
	trap '' INT TERM HUP
	for command in "${on_exit[@]}"; do
		eval "$command"
	done
	# shellcheck disable=SC2046 # words
	{ kill -KILL $(jobs -p) && wait; } 2>/dev/null
	remove_pins "x${RUN:-$$}-$case_index-"
	for name in "${namespaces[@]}"; do
		ip netns delete "$name" 2>/dev/null
	done
	rm -rf "$dir"
}

run_case() { # INDEX
	case=${case_names[$1]} backend=${case_backends[$1]} case_index=$1
	exec {report}>&1
	if ! dir=$(mktemp -d "${TMPDIR:-/tmp}/sluice-XXXXXX"); then
		echo "not ok $case: no temporary folder"
		exit 0
	fi
	chmod 711 "$dir"
	trap cleanup EXIT
	trap 'exit 143' INT TERM HUP
	if [[ $backend == io_uring ]]; then
		local auto
		auto=$("$sluice" probe | tail -n 1)
		[[ $auto == *"auto chooses io_uring"* ]] || skip "no io_uring here: $auto"
	fi
	eval "${case_calls[$1]}"
	stop_all
	echo "ok $case"
}

running=() # the index of each case under way, by its pid

end_all() {
	trap '' INT TERM HUP
	((${#running[@]})) && kill -TERM "${!running[@]}" 2>/dev/null
	wait
	exit 130
}

# A case that had to be killed has left its namespaces and pins.
remove_leftovers() {
	local name
	rm -rf "$output"
	remove_pins "x$$-"
	((EUID == 0)) && ip netns list 2>/dev/null | while read -r name _; do
		[[ $name == sluice-$$-* ]] && ip netns delete "$name"
	done
}

start_case() { # INDEX
	RUN=$$ timeout -k 5 "${case_limits[$1]}" "$BASH" "$script" --case "$1" </dev/null \
		>"$output/$1" 2>&1 &
	running[$!]=$1
}

end_case() {
	local status pid i
	wait -n -p pid "${!running[@]}"
	status=$?
	i=${running[$pid]}
	unset "running[$pid]"
	cat "$output/$i"
	if ((status == 124 || status == 137)); then
		echo "not ok ${case_names[$i]}: not finished after ${case_limits[$i]} s"
	elif ((status)); then
		echo "not ok ${case_names[$i]}: ended with status $status"
	elif ! grep -qE '^(ok|not ok|skip) ' "$output/$i"; then
		echo "not ok ${case_names[$i]}: ended without a result"
	fi
}

# Hosts without a bpf file system get one for this script alone, in a mount namespace of its own.
with_pins() { # ARGUMENT...
	((EUID == 0)) && [[ -z ${OWN_MOUNTS-} && $(stat -f -c %T /sys/fs/bpf 2>&1) != bpf_fs ]] &&
		command -v unshare >/dev/null || return
	# shellcheck disable=SC2016 # for another shell
	OWN_MOUNTS=1 exec unshare -m "$BASH" -c 'mount -t bpf bpf /sys/fs/bpf; exec "$@"' mount \
		"$BASH" "$script" "$@"
}

main() {
	local i jobs=${JOBS:-4} word=${1-}
	sluice=$build/sluice
	if [[ $word == --case ]]; then
		run_case "$2"
		exit
	fi
	[[ -x $sluice && -x $peer ]] || {
		echo "not ok $(basename "$0"): no $sluice or no $peer; run make"
		exit 1
	}
	trap end_all INT TERM HUP
	trap remove_leftovers EXIT
	output=$(mktemp -d "${TMPDIR:-/tmp}/sluice-XXXXXX") || exit 1
	for i in "${!case_names[@]}"; do
		[[ ${case_names[i]} == *"$word"* && ${case_alone[i]} == no ]] || continue
		((${#running[@]} >= jobs)) && end_case
		start_case "$i"
	done
	while ((${#running[@]})); do
		end_case
	done
	for i in "${!case_names[@]}"; do
		[[ ${case_names[i]} == *"$word"* && ${case_alone[i]} == yes ]] || continue
		start_case "$i"
		end_case
	done
	exit 0
}

# ---- what cases need ----

need_root() {
	((EUID == 0)) || skip "needs root"
}

need_cpus() { # N
	(($(nproc) >= $1)) || skip "needs $1 CPUs"
}

need_command() { # COMMAND...
	local command
	for command; do
		command -v "$command" >/dev/null || skip "needs $command"
	done
}

need_descriptors() { # N
	(($(ulimit -Hn) >= $1)) ||
		skip "needs a descriptor limit of $1 (ulimit -Hn is $(ulimit -Hn))"
}

# must COMMAND [ARGUMENT...]: fails the case unless it succeeds
must() {
	"$@" 2>"$dir/must.err" ||
		fail "$(printf '%s ' "${@##*/}" | cut -c 1-200): $(tail -n 1 "$dir/must.err")"
}

now_ms() { # sets now
	now=${EPOCHREALTIME//[.,]/}
	now=${now%???}
}

# wait_until SECONDS COMMAND [ARGUMENT...]: true as soon as it succeeds
wait_until() {
	local now end seconds=$1
	shift
	now_ms
	end=$((now + seconds * 1000))
	until "$@"; do
		now_ms
		((now < end)) || return 1
		sleep 0.02
	done
}

is_gone() { # PID
	local state=
	read -r _ _ state _ 2>/dev/null <"/proc/$1/stat"
	[[ -z $state || $state == Z ]]
}

# The exit status of WHO in `status`; fails the case when it has not ended after SECONDS.
ends() { # WHO SECONDS
	wait_until "$2" is_gone "${pid_of[$1]}" || fail "$1 still runs after $2 s"
	wait "${pid_of[$1]}"
	status=$?
	unset "pid_of[$1]"
}

# ---- the server ----

# NS=NAME before any of these starts it in that network namespace.

sluice_launch() { # WHO ARGUMENT...
	: >"$dir/$1.out"
	# shellcheck disable=SC2086 # words
	${NS:+ip netns exec $NS} "$sluice" "${@:2}" >"$dir/$1.out" 2>"$dir/$1.err" &
	pid_of[$1]=$!
	is_server[$1]=1
}

is_ready() { # WHO
	grep -qsx ready "$dir/$1.out" || is_gone "${pid_of[$1]}"
}

# Starts WHO with the backend of the case, and waits until it is ready.
sluice_start() { # WHO COMMAND ARGUMENT...
	sluice_launch "$1" "$2" -b "$backend" "${@:3}"
	wait_until 10 is_ready "$1" || fail "$1 was not ready after 10 s"
	grep -qx ready "$dir/$1.out" || fail "$1 did not start: $(tail -n 1 "$dir/$1.err")"
}

# Where WHO listens: its Nth address, of the first without N.
address() { # WHO [N]
	sed -n 's/^listening \([^ ]*\).*/\1/p' "$dir/$1.out" | sed -n "${2:-1}p"
}

declare -A is_server=() count=()

sluice_signal() { # WHO SIGNAL
	kill "-$2" "${pid_of[$1]}" || fail "$1 has ended already"
}

sluice_kill() { # WHO...
	local who
	for who; do
		sluice_signal "$who" KILL
		wait "${pid_of[$who]}" 2>/dev/null
		unset "pid_of[$who]"
	done
}

# SIGTERM, an end within SECONDS with status 0, and the summary.
sluice_stop() { # WHO [SECONDS]
	sluice_signal "$1" TERM
	sluice_stopped "$1" "${2:-5}"
}

sluice_stopped() { # WHO [SECONDS]
	local status
	ends "$1" "${2:-5}"
	((status == 0)) || fail "$1 ended with status $status: $(tail -n 1 "$dir/$1.err")"
	grep -q '^connections: ' "$dir/$1.out" || fail "$1 ended without a summary"
}

# After a case: what it started has no connections left, and has to stop cleanly.
stop_all() {
	local who
	for who in "${!is_server[@]}"; do
		[[ ${pid_of[$who]-} ]] && sluice_stop "$who"
	done
}

has_printed() { # FILE BYTES: it has grown beyond BYTES, by whole lines
	(($(stat -c %s "$1") > $2)) && [[ -z $(tail -c 1 "$1") ]]
}

# Reads the counters of WHO into the array `count`.
counters() { # WHO
	local before name value
	before=$(stat -c %s "$dir/$1.out")
	sluice_signal "$1" USR1
	wait_until 5 has_printed "$dir/$1.out" "$before" || fail "$1 printed no counters"
	count=()
	while read -r name value; do
		count[$name]=$value
	done < <(tail -c "+$((before + 1))" "$dir/$1.out")
}

count_has_reached() { # WHO COUNTER VALUE
	counters "$1"
	((${count[$2]} >= $3))
}

# Waits until COUNTER of WHO is at least VALUE.
reaches() { # WHO COUNTER VALUE [SECONDS]
	wait_until "${4:-5}" count_has_reached "$1" "$2" "$3" ||
		fail "$1: $2 is ${count[$2]} after ${4:-5} s instead of $3"
}

# Compares counters with what they should be by now.
counted() { # WHO COUNTER=VALUE...
	local pair
	counters "$1"
	for pair in "${@:2}"; do
		[[ ${count[${pair%=*}]-} == "${pair#*=}" ]] ||
			fail "$1: ${pair%=*} is ${count[${pair%=*}]-missing} instead of ${pair#*=}"
	done
}

cpu_ms() { # PID: its user and system time, in cpu_ms
	local stat
	stat=$(<"/proc/$1/stat")
	read -r -a stat <<<"${stat##*) }"
	cpu_ms=$(((stat[11] + stat[12]) * 1000 / $(getconf CLK_TCK)))
}

rss_kib() { # PID: sets rss_kib
	rss_kib=$(awk '/^VmRSS:/ { print $2 }' "/proc/$1/status")
}

descriptors() { # PID
	local all=("/proc/$1/fd"/*)
	echo ${#all[@]}
}

logged() { # WHO TEXT: how many lines of its log contain TEXT
	grep -cF -- "$2" "$dir/$1.err"
}

# ---- peers ----

peer() {
	# shellcheck disable=SC2086 # words
	${NS:+ip netns exec $NS} "$peer" "$@" </dev/null
}

# Runs a peer in the background; peer_go lets it pass a `wait`, peer_says waits for a line of it.
peer_start() { # WHO ARGUMENT...
	local input
	mkfifo "$dir/$1.in"
	exec {input}<>"$dir/$1.in"
	input_of[$1]=$input
	# shellcheck disable=SC2086 # words
	${NS:+ip netns exec $NS} "$peer" "${@:2}" <"$dir/$1.in" >"$dir/$1.out" 2>"$dir/$1.err" &
	pid_of[$1]=$!
}

peer_go() { # WHO
	echo >&"${input_of[$1]}"
}

has_said() { # WHO LINE
	grep -qs "^$2" "$dir/$1.out" || is_gone "${pid_of[$1]}"
}

# Until WHO prints a line that begins with LINE.
peer_says() { # WHO LINE [SECONDS]
	wait_until "${3:-15}" has_said "$1" "$2" || fail "$1 did not say '$2' in ${3:-15} s"
	grep -q "^$2" "$dir/$1.out" || fail "$1: $(tail -n 1 "$dir/$1.err")"
}

# A peer that listens, or answers: until it does.
peer_serve() { # WHO ARGUMENT...
	peer_start "$@"
	peer_says "$1" ready
}

# Until WHO has done all of its actions.
peer_ends() { # WHO [SECONDS]
	local status
	ends "$1" "${2:-30}"
	((status == 0)) || fail "$1: $(tail -n 1 "$dir/$1.err")"
}

peer_kill() { # WHO
	kill -KILL "${pid_of[$1]}"
	wait "${pid_of[$1]}" 2>/dev/null
	unset "pid_of[$1]"
}

# ---- network namespaces ----

# Makes a namespace and puts its name into the variable of that name.
netns() { # VARIABLE...
	local variable name
	need_root
	for variable; do
		name=sluice-${RUN:-$$}-$case_index-$variable
		ip netns add "$name" 2>"$dir/netns.err" ||
			skip "no network namespaces here: $(<"$dir/netns.err")"
		namespaces+=("$name")
		printf -v "$variable" %s "$name"
		must ip -n "$name" link set lo up
	done
}

# A cable: DEVICE-A in namespace A to DEVICE-B in namespace B, each with its addresses.
cable() { # NS-A DEVICE-A "ADDRESS..." NS-B DEVICE-B "ADDRESS..."
	local address
	must ip link add "$2" netns "$1" type veth peer name "$5" netns "$4"
	for address in $3; do
		# shellcheck disable=SC2046 # nothing, or a word
		must ip -n "$1" addr add "$address" dev "$2" $(no_dad "$address")
	done
	for address in $6; do
		# shellcheck disable=SC2046 # nothing, or a word
		must ip -n "$4" addr add "$address" dev "$5" $(no_dad "$address")
	done
	must ip -n "$1" link set "$2" up
	must ip -n "$4" link set "$5" up
}

# IPv6 addresses are unusable until nobody else has claimed them, unless told so.
no_dad() {
	[[ $1 == *:* ]] && echo nodad
}

# ---- the filter ----

pins=/sys/fs/bpf/sluice

# Only those of this run: the folder belongs to the whole host.
remove_pins() { # BEGINNING-OF-NAMES
	((EUID == 0)) && rm -rf "${pins:?}/${1:?}"* 2>/dev/null
}

need_xdp() {
	local why
	need_root
	need_command nsenter
	why=$("$sluice" probe | grep -A 1 '^  filter  *no ')
	[[ -z $why ]] || skip "$(sed '1d; s/^ *//' <<<"$why")"
}

need_pins() {
	need_xdp
	"$sluice" probe | grep -q '^  bpffs  *yes ' || skip "no bpf file system at ${pins%/*}"
}

# A client's namespace and a server's, where the filter goes on $door. Its name is like no other
# on this host, for filters are pinned by name.
street() {
	need_xdp
	netns client server
	door=x${RUN:-$$}-$case_index-a
	# shellcheck disable=SC2154 # netns has set them
	cable "$client" out "10.77.0.1/24 10.77.0.2/24 10.77.0.3/24 fd77::1/64 fd77::2/64" \
		"$server" "$door" "10.77.0.8/24 10.77.0.9/24 fd77::9/64"
}

# A second cable between them, to $second.
second_door() {
	second=${door%a}b
	cable "$client" out2 10.78.0.1/24 "$server" "$second" 10.78.0.9/24
}

# `sluice xdp` in the namespace NS. `ip netns exec` would hide the pins.
xdp() { # ARGUMENT...
	# shellcheck disable=SC2086 # words
	${NS:+nsenter --net=/run/netns/$NS} "$sluice" xdp "$@"
}

rules() { # LINE...: what "$dir/rules" says from now on
	printf '%s\n' "$@" >"$dir/rules"
}

# `sluice xdp` about the door has to succeed; what it prints is in xdp.out.
control() { # SUBCOMMAND ARGUMENT...
	NS=$server must xdp "$1" "$door" "${@:2}" >"$dir/xdp.out"
}

# `sluice xdp` ends with STATUS and one line that has TEXT, and prints nothing else.
refused() { # STATUS TEXT ARGUMENT...
	local status
	NS=${NS-$server} xdp "${@:3}" >"$dir/xdp.out" 2>"$dir/refused.err" </dev/null
	status=$?
	((status == $1)) || fail "xdp ${*:3}: status $status: $(<"$dir/refused.err")"
	[[ $(<"$dir/refused.err") == "sluice: "* && $(wc -l <"$dir/refused.err") == 1 ]] ||
		fail "xdp ${*:3}: not one line: $(<"$dir/refused.err")"
	grep -qF -- "$2" "$dir/refused.err" ||
		fail "xdp ${*:3}: no '$2' in: $(<"$dir/refused.err")"
	[[ ! -s $dir/xdp.out ]] || fail "xdp ${*:3} was refused, but prints"
}

in_force() { # RULE...
	control rules
	diff <(printf '%s\n' "$@") "$dir/xdp.out" >"$dir/rules.out" || fail "other rules in force"
}

# Whether xdp.out, or FILE, has a line like that.
printed() { # LINE-PATTERN [FILE]
	grep -qxE -- "$1" "$dir/${2-xdp.out}" ||
		fail "no line '$1' in: $(tail -n 20 "$dir/${2-xdp.out}")"
}

# ip complains of namespaces that come and go meanwhile.
is_filtering() { # NS INTERFACE
	ip -n "$1" link show "$2" 2>"$dir/ip.log" | grep -q 'prog/xdp'
}

is_off() {
	! is_filtering "$server" "$door" || fail "there is still a filter on $door"
	[[ ! -e $pins/$door ]] || fail "$pins/$door is left"
}

# Sends datagrams, of 100 bytes if nothing else is said, and waits for no answer.
throw() { # FROM TO COUNT [BYTES]
	# shellcheck disable=SC2046 # words
	NS=$client must peer -f "udp:$1:0" datagram "udp:$2" \
		$(printf "send ${4:-100} %.0s" $(seq "$3"))
}

answered() { # FROM TO ACTION...
	NS=$client must peer -f "udp:$1:0" datagram "udp:$2" "${@:3}"
}

declare -A frame_bytes=()

# Reads what the filter on $door has counted into `count` and `frame_bytes`: by verdict ("pass"),
# by verdict and reason ("drop prefix") and by rule ("drop to-port 9").
filter_counters() {
	local packets size name
	NS=$server must xdp stats "$door" --all >"$dir/stats.out"
	count=() frame_bytes=()
	while read -r packets size name; do
		[[ $packets =~ ^[0-9]+$ ]] || continue
		count[$name]=$packets
		frame_bytes[$name]=$size
	done <"$dir/stats.out"
}

has_filtered() { # NAME=PACKETS...
	local pair
	filter_counters
	for pair; do
		difference="${pair%=*}: ${count[${pair%=*}]:-0} instead of ${pair##*=}"
		[[ ${count[${pair%=*}]:-0} == "${pair##*=}" ]] || return 1
	done
}

# Until the filter on $door has counted just this: frames that were sent may be under way.
filtered() { # NAME=PACKETS...
	local difference
	wait_until 5 has_filtered "$@" || fail "the filter has counted $difference"
}

# A case for each mode, which is its last argument.
in_modes() { # NAME FUNCTION [ARGUMENT...]
	once "$1 [native]" "${@:2}" native
	once "$1 [generic]" "${@:2}" generic
}
