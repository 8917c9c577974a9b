#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `sluice xdp`: filters that stay, what is said of them, and what is refused.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2154 # street sets client, server and door
v4=10.77.0.9:7007 v6="[fd77::9]:7007"

# ---- pinned ----

# The filter outlives its command and servers, and judges for all of them.
pinned() { # MODE
	need_pins
	street
	rules "drop from 10.77.0.2" "limit to-port 9 rate 5 per source" "drop to-port 7008"
	control attach --mode "$1" --rules "$dir/rules"
	printed "attached $door mode=$1 rules=4 pinned=$pins/$door"
	is_filtering "$server" "$door" || fail "nothing is attached"
	control status
	printed "$door mode=$1 pinned=$pins/$door rules=4 limits=1 memory=[0-9.]+[KM]iB \
generation=1 since=20[0-9-]+T[0-9:]+[+-][0-9]{4}"
	cp "$dir/xdp.out" "$dir/status.out"
	NS=$server must xdp status >"$dir/xdp.out"
	cmp -s "$dir/xdp.out" "$dir/status.out" || fail "the list says something else"
	NS=$client must xdp status >"$dir/xdp.out"
	printed "no filter is attached in this network namespace"
	NS=$server sluice_start one echo -l "udp:$v4" -l "udp:$v6" -l udp:10.77.0.9:7008
	answered 10.77.0.1 "$v4" many 20 100
	answered "[fd77::1]" "$v6" many 20 100
	throw 10.77.0.2 "$v4" 3
	throw 10.77.0.1 10.77.0.9:7008 2
	filtered "drop prefix=3" "drop port=2" drop=5 "drop to-port 7008=2" "pass default=40"
	counted one dgrams_in=40
	sluice_kill one
	throw 10.77.0.2 "$v4" 1
	filtered "drop prefix=4" "pass default=40"
	# Fragments without a port are everybody's: four of each datagram.
	control add drop fragments
	throw 10.77.0.1 "$v4" 2 5000
	throw "[fd77::1]" "$v6" 1 5000
	filtered "drop fragment=12" "drop fragments=12" "pass default=40"
	control detach
	printed "detached $door"
	is_off
	NS=$server peer_serve next echo "udp:$v4"
	answered 10.77.0.2 "$v4" many 20 100
	peer_kill next
}

# What detach has taken off is off, and others who do the same are not in the way. The bpf file
# system is of its own: nobody else keeps its folder.
again_and_again() {
	local both
	need_pins
	need_command unshare
	street
	second_door
	# shellcheck disable=SC2016 # for another shell
	both='mount -t bpf bpf /sys/fs/bpf || exit 1
		turns() {
			for i in {1..100}; do
				"$sluice" xdp attach "$1" && "$sluice" xdp detach "$1" || exit 1
			done
		}
		turns "$1" &
		turns "$2" &
		wait -n && wait -n'
	sluice=$sluice nsenter --net="/run/netns/$server" unshare -m "$BASH" -c "$both" both \
		"$door" "$second" >"$dir/turns.out" 2>"$dir/turns.err" ||
		fail "$(tail -n 1 "$dir/turns.err")"
	is_off
}

refusals() {
	local command
	need_pins
	street
	for command in detach status rules stats; do
		refused 1 "$door has no filter" "$command" "$door"
		refused 1 "x-none: no such interface" "$command" x-none
	done
	refused 1 "x-none: no such interface" attach x-none
	refused 1 "$door has no filter" add "$door" drop to-port 7
	refused 1 "$dir/none: No such file" attach "$door" --rules "$dir/none"
	rules "default pass" "" "  drop to-port 70000"
	refused 1 "$dir/rules:3:16: " attach "$door" --rules "$dir/rules"
	is_off
	control attach
	refused 1 "$door has a filter of sluice already" attach "$door"
	refused 1 "$door has a filter of sluice already" attach "$door" --mode generic
	is_filtering "$server" "$door" || fail "the filter has gone"
	control detach
	refused 1 "$door has no filter" detach "$door"
	refused 2 "did you mean: sluice xdp attach" atach "$door"
}

# A program of somebody else is named, and left alone.
somebody_else() {
	local command
	need_pins
	street
	NS=$server peer_serve other occupy "$door"
	refused 1 "$door runs another XDP program already: somebody_else" attach "$door"
	refused 1 "$door runs another XDP program already: somebody_else" attach "$door" \
		--mode generic
	for command in detach status rules stats; do
		refused 1 "it runs another XDP program: somebody_else" "$command" "$door"
	done
	is_filtering "$server" "$door" || fail "the other program has gone"
	[[ ! -e $pins/$door ]] || fail "a refused attach has left $pins/$door"
	NS=$server must xdp status >"$dir/xdp.out"
	printed "no filter is attached in this network namespace"
	peer_kill other
	control attach
	control detach
}

# A server and a pin want the same interface.
server_or_pin() {
	local status
	need_pins
	street
	control attach
	NS=$server sluice_launch bad echo -l "udp:$v4" --xdp "$door"
	ends bad 10
	((status == 1)) || fail "the server ended with status $status"
	grep -q "$door has a filter of sluice already.*sluice xdp detach $door" "$dir/bad.err" ||
		fail "instead: $(<"$dir/bad.err")"
	is_filtering "$server" "$door" || fail "the pinned filter has gone"
	control detach
	NS=$server sluice_start one echo -l "udp:$v4" --xdp "$door"
	refused 1 "belongs to a server (process ${pid_of[one]})" detach "$door"
	refused 1 "$door has a filter of sluice already" attach "$door"
	[[ ! -e $pins/$door ]] || fail "a refused attach has left $pins/$door"
	answered 10.77.0.1 "$v4" many 20 100
	filtered "pass default=20"
}

# A pin is left when its interface goes. The next one of that name is free.
interface_gone() {
	local how
	need_pins
	street
	for how in detach attach; do
		control attach
		must ip -n "$server" link delete "$door"
		refused 1 "$door: no such interface" status "$door"
		refused 1 "$door: no such interface" stats "$door"
		[[ $how == attach ]] || control detach
		cable "$client" out 10.77.0.1/24 "$server" "$door" 10.77.0.9/24
		control attach
		NS=$server peer_serve "$how" echo "udp:$v4"
		answered 10.77.0.1 "$v4" many 20 100
		filtered "pass default=20"
		control detach
		is_off
		peer_kill "$how"
	done
}

# Pins are the whole host's, but not what lives in other network namespaces.
elsewhere() {
	need_pins
	street
	control attach
	NS=$client refused 1 "$door" detach "$door"
	is_filtering "$server" "$door" || fail "another namespace has detached it"
	control status
	printed "$door mode=native pinned=$pins/$door .*"
	control detach
	is_off
}

# A bridge has no native mode.
modes() {
	need_pins
	street
	door=${door%a}b
	must ip -n "$server" link add "$door" type bridge
	refused 1 "$door cannot run XDP programs in its driver" attach "$door" --mode native
	is_off
	NS=$server xdp attach "$door" >"$dir/xdp.out" 2>"$dir/attach.err" || fail "no generic mode"
	printed "attached $door mode=generic rules=1 pinned=$pins/$door"
	grep -q "$door: native mode was not possible (.*); generic mode is used" \
		"$dir/attach.err" || fail "it does not tell: $(<"$dir/attach.err")"
	control status
	printed "$door mode=generic .*"
	control detach
	is_off
}

# ---- numbers ----

watch() { # WHO SECONDS
	: >"$dir/$1.out"
	nsenter --net="/run/netns/$server" "$sluice" xdp stats "$door" --watch "$2" \
		>"$dir/$1.out" 2>"$dir/$1.err" &
	pid_of[$1]=$!
}

watching() {
	local status
	need_pins
	street
	control attach
	watch watch 0.2
	wait_until 5 has_printed "$dir/watch.out" 0 || fail "it prints nothing"
	throw 10.77.0.1 "$v4" 20
	wait_until 5 grep -qE ' pass [0-9]+/s .*pass-default .*default pass' "$dir/watch.out" ||
		fail "it has seen nothing"
	kill -INT "${pid_of[watch]}"
	ends watch 5
	((status == 0)) || fail "SIGINT: status $status"
	[[ ! -s $dir/watch.err ]] || fail "it complains: $(<"$dir/watch.err")"
	! grep -vE '^[0-9.]+s pass [0-9.]+/s drop [0-9.]+/s ' "$dir/watch.out" ||
		fail "other lines than rates"
	NS=$server xdp stats "$door" --watch 0.1 | head -n 2 >"$dir/head.out"
	status=${PIPESTATUS[0]}
	((status == 0)) || fail "a reader that ends: status $status"
	watch gone 0.1
	wait_until 5 has_printed "$dir/gone.out" 0 || fail "it prints nothing"
	control detach
	ends gone 5
	((status == 1)) || fail "the filter has gone: status $status"
	grep -q "the filter has gone" "$dir/gone.err" || fail "instead: $(<"$dir/gone.err")"
}

is_true() { # JQ-EXPRESSION
	jq -e "$1" "$dir/xdp.out" >"$dir/jq.out" 2>&1 || fail "not so in JSON: $1"
}

json() {
	need_pins
	need_command jq
	street
	rules "drop from 10.77.0.2" "drop to-port 7008" "limit to-port 9 rate 1 burst 5 per source"
	control attach --rules "$dir/rules"
	throw 10.77.0.1 "$v4" 7
	throw 10.77.0.2 "$v4" 4
	throw 10.77.0.1 10.77.0.9:7008 20
	filtered "drop prefix=4" "drop port=20" "pass default=7"
	control stats --json
	is_true '.verdicts.pass.packets == ([.reasons[].pass.packets] | add)'
	is_true '.verdicts.drop.packets == ([.reasons[].drop.packets] | add)'
	is_true '.verdicts.pass.bytes == ([.reasons[].pass.bytes] | add)'
	is_true '.verdicts.drop.bytes == ([.reasons[].drop.bytes] | add)'
	is_true '([.rules[].packets] | add) == 31 and (.rules | length) == 4'
	is_true '.rules[1] == {rule: "drop from 10.77.0.2", packets: 4, bytes: 568}'
	is_true '.reasons.port.drop.packets == 20'
	is_true ".filter.interface == \"$door\" and .filter.pinned and .filter.pid == null"
	control status --json
	is_true ".interface == \"$door\" and .mode == \"native\" and .rules == 4 and .limits == 1"
	is_true '.generation == 1 and .memory > 100000 and .attached_at > 1600000000'
	NS=$server must xdp status --json >"$dir/xdp.out"
	is_true "length == 1 and .[0].interface == \"$door\""
	NS=$client must xdp status --json >"$dir/xdp.out"
	is_true '. == []'
	NS=$server xdp stats "$door" --watch 0.1 --json | head -n 2 >"$dir/xdp.out"
	jq -es 'length == 2 and all(.verdicts.drop.packets == 24 and .interval > 0)' \
		"$dir/xdp.out" >"$dir/jq.out" || fail "lines of --watch --json"
	control detach
}

# ---- privileges ----

as_nobody() { # STATUS TEXT ARGUMENT...
	local status
	nsenter --net="/run/netns/$server" setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$dir/sluice" "${@:3}" >"$dir/nobody.out" 2>"$dir/nobody.err"
	status=$?
	((status == $1)) || fail "${*:3} as nobody: status $status"
	[[ $(<"$dir/nobody.out")$(<"$dir/nobody.err") == *"$2"* ]] ||
		fail "${*:3} as nobody: no '$2' in: $(<"$dir/nobody.err")"
}

privileges() {
	local command
	need_pins
	need_command setpriv
	street
	cp "$sluice" "$dir/sluice"
	rules "drop to-port 7"
	chmod 644 "$dir/rules"
	as_nobody 0 "2 rules, 0 limits" xdp check "$dir/rules"
	as_nobody 1 "CAP_BPF and CAP_NET_ADMIN" echo -l udp:127.0.0.1:7007 --xdp "$door"
	as_nobody 1 "$door has no filter" xdp status "$door"
	# Another pin, so that its folder is there and root's.
	control attach
	for command in status rules stats detach; do
		as_nobody 1 "$door: opening a filter needs CAP_SYS_ADMIN" xdp "$command" "$door"
	done
	as_nobody 1 "$door: opening a filter needs CAP_SYS_ADMIN" xdp add "$door" drop to-port 9
	as_nobody 1 "$door runs an XDP program; telling which needs CAP_SYS_ADMIN" xdp status
	in_force "default pass"
	second_door
	as_nobody 1 "CAP_BPF and CAP_NET_ADMIN" xdp attach "$second"
	[[ ! -e $pins/$second ]] || fail "a refused attach has left $pins/$second"
	control detach
}

# Who owns the folder could take pins away. Anybody may make it in a bpf file system, like this one
# of its own.
strange_folder() {
	local status script
	need_pins
	need_command unshare setpriv
	street
	cp "$sluice" "$dir/sluice"
	# shellcheck disable=SC2016 # for another shell
	script='mount -t bpf -o mode=1777 bpf /sys/fs/bpf || exit 3
		setpriv --reuid=65534 --regid=65534 --clear-groups "$1" xdp attach "$2"
		[[ ! -e /sys/fs/bpf/sluice ]] || exit 4
		mkdir /sys/fs/bpf/sluice && chown 65534 /sys/fs/bpf/sluice || exit 3
		exec "$1" xdp attach "$2"'
	nsenter --net="/run/netns/$server" unshare -m "$BASH" -c "$script" strange \
		"$dir/sluice" "$door" >"$dir/xdp.out" 2>"$dir/attach.err"
	status=$?
	((status != 4)) || fail "a refused attach leaves nobody's folder for root's pins"
	((status == 1)) || fail "status $status: $(<"$dir/attach.err")"
	tail -n 1 "$dir/attach.err" | grep -q "^sluice: $pins is not a folder of this user" ||
		fail "instead: $(<"$dir/attach.err")"
	is_off
}

no_bpf_file_system() {
	local status
	need_pins
	street
	ip netns exec "$server" "$sluice" xdp attach "$door" >"$dir/xdp.out" 2>"$dir/attach.err"
	status=$?
	((status == 1)) || fail "status $status without a bpf file system"
	grep -q 'mount -t bpf bpf /sys/fs/bpf.*nsenter --net=' "$dir/attach.err" ||
		fail "no remedy in: $(<"$dir/attach.err")"
	is_off
	# What others have pinned is no server's.
	control attach
	ip netns exec "$server" "$sluice" xdp status "$door" >"$dir/xdp.out" 2>&1
	[[ $(<"$dir/xdp.out") == "$door mode=native "* && $(<"$dir/xdp.out") != *server=* ]] ||
		fail "a pin that is out of sight: $(<"$dir/xdp.out")"
	control detach
	# A server pins nothing, and needs none.
	NS=$server sluice_start one echo -l "udp:$v4" --xdp "$door"
	answered 10.77.0.1 "$v4" many 20 100
	filtered "pass default=20"
}

in_modes "a pinned filter" pinned
once "attached and detached again and again" again_and_again
once "refusals" refusals
once "another program is there" somebody_else
once "a server or a pin" server_or_pin
once "the interface has gone" interface_gone
once "another network namespace" elsewhere
once "no native mode" modes
once "--watch" watching
once "--json" json
once "privileges" privileges
once "a folder of somebody else" strange_folder
once "no bpf file system" no_bpf_file_system
with_pins "$@"
main "$@"
