#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The rules of filters in force: replaced, changed, many of them, under load.

# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2154 # street sets client, server and door
v4=10.77.0.9:7007

replacing() {
	need_pins
	street
	rules "drop from 10.77.0.2 # a comment" "" "pass to-port 7" "default drop"
	control attach
	in_force "default pass"
	control rules "$dir/rules"
	printed "$door: 3 rules in force"
	in_force "default drop" "drop from 10.77.0.2" "pass to-port 7"
	control rules - < <(echo drop to-port 9)
	in_force "default pass" "drop to-port 9"
	rules "limit from fd77::/64 to-port 9 rate 10KB/s per prefix 64" "drop length 0-10" \
		"drop fragments" "limit rate 1000 burst 50 total" "drop from 0.0.0.0/0"
	control rules "$dir/rules"
	control rules
	cp "$dir/xdp.out" "$dir/before.out"
	NS=$server xdp rules "$door" | NS=$server xdp rules "$door" - >"$dir/pipe.out" 2>&1 ||
		fail "rules do not take what they print"
	control rules
	cmp -s "$dir/xdp.out" "$dir/before.out" || fail "rules piped to themselves are others"
	control status
	printed "$door .* rules=6 limits=2 .* generation=5 .*"
	control detach
}

editing() {
	need_pins
	street
	control attach
	control add drop to-port 19 pass from 192.0.2.1
	printed "$door: 3 rules in force"
	control add "drop from 192.0.2.0/24" "drop to-port 17" drop from 2001:db8::/32
	in_force "default pass" "drop to-port 19" "pass from 192.0.2.1" "drop from 192.0.2.0/24" \
		"drop to-port 17" "drop from 2001:db8::/32"
	control del "drop to-port 19" drop from 192.0.2.0/24
	control add default drop
	in_force "default drop" "pass from 192.0.2.1" "drop to-port 17" "drop from 2001:db8::/32"
	# All of them, or none.
	refused 1 "'pass to-port 17' contradicts 'drop to-port 17', which is in force" \
		add "$door" drop to-port 1 pass to-port 17
	refused 1 "'drop to-port 1' is not in force" del "$door" "drop to-port 17" "drop to-port 1"
	refused 2 "70000" add "$door" drop to-port 1 drop to-port 70000
	in_force "default drop" "pass from 192.0.2.1" "drop to-port 17" "drop from 2001:db8::/32"
	rules "default pass" "drop to-port 1" "pass from 192.0.2.300"
	refused 1 "$dir/rules:3:11: " rules "$door" "$dir/rules"
	rules "drop to-port 1" "# and" "pass to-port 1"
	refused 1 "$dir/rules:3:" rules "$door" "$dir/rules"
	in_force "default drop" "pass from 192.0.2.1" "drop to-port 17" "drop from 2001:db8::/32"
	control status
	printed "$door .* generation=5 .*"
	control detach
}

# Of editors at the same time none undoes what another has done.
editors() {
	local i
	need_pins
	street
	control attach
	for i in {1..8}; do
		NS=$server xdp add "$door" drop to-port "$i" >"$dir/add$i.out" 2>&1 &
		pid_of[add$i]=$!
	done
	for i in {1..8}; do
		peer_ends "add$i"
	done
	control rules
	(($(grep -c '^drop to-port [1-8]$' "$dir/xdp.out") == 8)) || fail "rules are lost"
	control detach
}

# Rules that stay keep what they have counted, and limits what they have seen.
counters_stay() { # MODE
	local now began
	need_pins
	street
	rules "drop from 10.77.0.2" "drop to-port 7007" "limit to-port 7008 rate 1 burst 2 total"
	control attach --mode "$1" --rules "$dir/rules"
	now_ms
	began=$now
	throw 10.77.0.2 "$v4" 5
	throw 10.77.0.1 "$v4" 3
	throw 10.77.0.1 10.77.0.9:7008 30
	filtered "drop from 10.77.0.2=5" "drop to-port 7007=3" "drop prefix=5" "drop port=3"
	rules "limit to-port 7008 rate 1 burst 2 total" "drop from 10.77.0.1 to-port 7007" \
		"drop from 10.77.0.2"
	control rules "$dir/rules"
	filtered "drop from 10.77.0.2=5" "drop to-port 7007=0" "drop prefix=5" "drop port=3"
	((count["drop rate-total"] >= 20 &&
		count["drop rate-total"] == count["limit to-port 7008 rate 1 burst 2 total"])) ||
		fail "a limit's counters: $(grep -E 'limit|rate' "$dir/stats.out")"
	throw 10.77.0.2 "$v4" 2
	throw 10.77.0.1 10.77.0.9:7008 30
	throw 10.77.0.1 "$v4" 1
	filtered "drop from 10.77.0.2=7" "drop from 10.77.0.1 to-port 7007=1" "drop prefix=8"
	now_ms
	((count["pass default"] <= 2 + (now - began + 1) / 1000)) ||
		fail "${count["pass default"]} have passed the limit, as if it had begun anew"
	control del drop from 10.77.0.2
	control add drop from 10.77.0.2
	filtered "drop from 10.77.0.2=0" "drop prefix=8"
	control detach
}

# ---- a set follows another under load ----

# Datagrams that every set passes, each sent when another has come back.
stream() {
	while [[ ! -e $dir/enough ]] || ((sent < 20000)); do
		NS=$client peer -f udp:10.77.0.1:0 -T 10 datagram "udp:$v4" many 1000 100 || break
		((sent += 1000))
		echo "$sent" >"$dir/stream.out"
	done
	echo end >>"$dir/stream.out"
}

# And some that every set drops.
stray() {
	local words
	words=$(printf "send 100 %.0s" {1..20})
	while [[ ! -e $dir/enough ]]; do
		# shellcheck disable=SC2086 # words
		NS=$client peer -f udp:10.77.0.2:0 datagram "udp:$v4" $words || break
		((sent += 20))
		echo "$sent" >"$dir/stray.out"
	done
	echo end >>"$dir/stray.out"
}

has_ended() { # WHO
	[[ $(tail -n 1 "$dir/$1.out") == end ]]
}

under_load() { # MODE
	local sent=0 passed strays
	street
	rules "default drop" "pass from 10.77.0.1" "pass to-port 7"
	cp "$dir/rules" "$dir/a"
	rules "drop from 10.77.0.2/31" "pass from 10.77.0.1 to-port 7007" "drop length 500-600"
	cp "$dir/rules" "$dir/b"
	NS=$server sluice_start one echo -l "udp:$v4" --xdp "$door" --xdp-mode "$1" \
		--xdp-rules "$dir/a"
	echo 0 | tee "$dir/stream.out" >"$dir/stray.out"
	stream 2>"$dir/stream.err" &
	stray 2>"$dir/stray.err" &
	for i in {1..25}; do
		control rules "$dir/b"
		control rules "$dir/a"
	done
	touch "$dir/enough"
	wait_until 40 has_ended stream || fail "the stream has not ended"
	wait_until 10 has_ended stray || fail "the strays have not ended"
	passed=$(head -n 1 "$dir/stream.out") strays=$(head -n 1 "$dir/stray.out")
	((passed >= 20000 && strays >= 100)) || fail "sent $passed and $strays"
	filtered "pass prefix=$passed" "pass default=0" "pass port=0" drop="$strays"
	counted one dgrams_in="$passed" dgrams_out="$passed"
	control status
	printed "$door mode=$1 server=.* generation=51 .*"
}

# ---- many rules ----

# 100,000 single addresses, none next to another.
many_rules() {
	need_pins
	street
	awk 'BEGIN {
		for (i = 0; i < 100000; i++)
			printf "drop from 172.%d.%d.%d\n", i / 32768, i / 128 % 256, i % 128 * 2
		print "drop from 10.77.0.2"
	}' >"$dir/rules"
	must ip -n "$client" addr add 172.3.13.62/32 dev out
	must ip -n "$client" addr add 172.3.13.63/32 dev out
	must ip -n "$server" route add 172.3.13.0/24 dev "$door"
	control attach --rules "$dir/rules"
	printed "attached $door mode=native rules=100002 .*"
	NS=$server peer_serve server echo "udp:$v4"
	answered 172.3.13.63 "$v4" many 20 100
	answered 10.77.0.1 "$v4" many 20 100
	throw 172.3.13.62 "$v4" 3
	throw 10.77.0.2 "$v4" 2
	filtered "drop prefix=5" drop=5 "drop from 172.3.13.62=3" "pass default=40"
	control stats
	printed " +3 +426  drop from 172.3.13.62"
	printed "99999 of 100002 rules matched nothing and are left out; --all prints them"
	(($(wc -l <"$dir/xdp.out") < 30)) || fail "stats print $(wc -l <"$dir/xdp.out") lines"
	control status
	printed "$door .* rules=100002 limits=0 memory=[0-9.]+MiB .*"
	control del "drop from 172.3.13.62"
	answered 172.3.13.62 "$v4" many 20 100
	control rules
	(($(wc -l <"$dir/xdp.out") == 100001)) || fail "$(wc -l <"$dir/xdp.out") rules"
	peer_kill server
	control detach
	is_off
}

once "rules replaced" replacing
once "rules added and deleted" editing
once "editors at once" editors
in_modes "counters of rules that stay" counters_stay
limit=90
in_modes "rules replaced under load" under_load
once "100,000 rules" many_rules
with_pins "$@"
main "$@"
