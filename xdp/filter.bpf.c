/* SPDX-License-Identifier: MIT */
/*
 * The filter. One program holds one rule set: what is constant in the set stands in .rodata, so
 * that the verifier removes what the set does not use, and a new set is a new program that takes
 * the old one's place at once. Maps that outlive a set (reasons, buckets, totals) are handed on by
 * the loader. rule.h says what rules mean, filter.h what the tables hold.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "xdp/echo.h"
#include "xdp/fast.h"
#include "xdp/filter.h"
#include "xdp/forward.h"
#include "xdp/limit.h"
#include "xdp/parse.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define ARRAY(name_, value_, n, ...)              \
	struct {                                  \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, n);           \
		__type(key, __u32);               \
		__type(value, value_);            \
		__VA_ARGS__                       \
	} name_ SEC(".maps")

/* max_entries of 1 are set by the loader. */
ARRAY(ports, struct filter_port, 1, );
ARRAY(limits, struct filter_limit, 1, );
ARRAY(buckets, struct filter_bucket, 1, __uint(map_flags, BPF_F_MMAPABLE););
ARRAY(totals, struct filter_total, FILTER_SLOTS_MAX, );
ARRAY(hits, struct filter_count, 1, __uint(map_flags, BPF_F_MMAPABLE););

/* What only the loader reads and writes; see load.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, 4);
	__uint(value_size, 8);
} info SEC(".maps"), rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FILTER_REASONS *FILTER_VERDICTS + FAST_REASONS);
	__type(key, __u32);
	__type(value, struct filter_count);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct filter_lpm4);
	__type(value, struct filter_answer);
} lpm4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct filter_lpm6);
	__type(value, struct filter_answer);
} lpm6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FILTER_SERVED_MAX);
	__type(key, struct filter_served);
	__type(value, __u8);
} served SEC(".maps");

/* The fast path: see fast.h. All but `hops` belong to the server, which fills them. */
ARRAY(host, struct fast_host, 1, __uint(map_flags, BPF_F_MMAPABLE););
ARRAY(locals, struct fast_locals, FAST_LOCAL_BUCKETS, __uint(map_flags, BPF_F_MMAPABLE););
ARRAY(ways, struct fast_way, 1, __uint(map_flags, BPF_F_MMAPABLE););

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hop);
} hops SEC(".maps");

#define HASH(name_, key_, n)                     \
	struct {                                 \
		__uint(type, BPF_MAP_TYPE_HASH); \
		__uint(max_entries, n);          \
		__type(key, key_);               \
		__type(value, __u32);            \
	} name_ SEC(".maps")

HASH(keys4, struct fast_key4, 1);
HASH(keys6, struct fast_key6, 1);
HASH(egress, __u32, FAST_EGRESS_MAX);

/* The questions that the list for any port, of either family, has answers to: a bit each. */
enum { ASK_VERDICT = 1 << FILTER_BYS, ASK_LIMITS = ASK_VERDICT - 1 };

const volatile __u8 any4_answers, any6_answers;
const volatile bool has_list4, has_list6, has_lengths, has_limits, is_serving;
const volatile bool fragment_drop;
const volatile __u32 fragment_rule; /* index + 1; 0: none */
const volatile __u32 n_rules = 1;
const volatile __u64 hash_keys[FILTER_KEYS];
const volatile bool clock_is_set;
const volatile __u64 coarse_tick; /* nanoseconds */
const volatile __u8 fast_mode;    /* enum fast_mode */

__u64 clock_now SEC(".data.clock"); /* nanoseconds; for tests */
__u16 port_index[FILTER_PORTS];

/* ---- counters ---- */

static always_inline void count_key(__u32 key, __u64 bytes)
{
	struct filter_count *c = bpf_map_lookup_elem(&reasons, &key);

	if (!c)
		return;
	c->packets++;
	c->bytes += bytes;
}

static always_inline void count(__u32 reason, __u32 verdict, __u64 bytes)
{
	count_key(reason * FILTER_VERDICTS + verdict, bytes);
}

static always_inline void count_fast(__u32 reason, __u64 bytes)
{
	count_key(FILTER_REASONS * FILTER_VERDICTS + reason, bytes);
}

/* Each CPU has a row of counters of its own. */
static always_inline void hit(__u32 rule, __u64 bytes)
{
	__u32 key = bpf_get_smp_processor_id() * n_rules + rule;
	struct filter_count *c = bpf_map_lookup_elem(&hits, &key);

	if (!c)
		return;
	c->packets++;
	c->bytes += bytes;
}

/* The verdict of no rule. */
static always_inline int judge(__u32 reason, __u32 verdict, __u64 bytes)
{
	count(reason, verdict, bytes);
	return verdict == FILTER_DROP ? XDP_DROP : XDP_PASS;
}

/* The verdict of a rule. */
static always_inline int judge_by(__u32 rule, __u32 verdict, __u64 bytes)
{
	hit(rule, bytes);
	return verdict == FILTER_DROP ? XDP_DROP : XDP_PASS;
}

/* ---- what a server listens on ---- */

static always_inline bool serves(const struct packet *p, __u8 flags)
{
	struct filter_served key = {.port = p->port};

	if (flags & (p->v6 ? FILTER_PORT_SERVED6 : FILTER_PORT_SERVED4))
		return true;
	if (!(flags & FILTER_PORT_SERVED))
		return false;
	if (p->v6) {
		__builtin_memcpy(key.addr, p->dst, sizeof(key.addr));
	} else {
		key.addr[10] = key.addr[11] = 0xff;
		__builtin_memcpy(key.addr + 12, p->dst, sizeof(p->dst[0]));
	}
	return bpf_map_lookup_elem(&served, &key) != NULL;
}

/* ---- answers ---- */

/* Takes from `more` what `answer` does not say. */
static always_inline void fill(struct filter_answer *answer, const struct filter_answer *more)
{
	if (!answer->verdict)
		answer->verdict = more->verdict;
	if (!has_limits)
		return;
#pragma unroll
	for (int i = 0; i < FILTER_BYS; i++)
		if (!answer->limit[i])
			answer->limit[i] = more->limit[i];
}

/* Whether one of the questions is still open. */
static always_inline bool is_open(const struct filter_answer *answer, __u8 questions)
{
	if ((questions & ASK_VERDICT) && !answer->verdict)
		return true;
#pragma unroll
	for (int i = 0; i < FILTER_BYS; i++)
		if ((questions & 1 << i) && !answer->limit[i])
			return true;
	return false;
}

static always_inline void ask4(const struct packet *p, __u32 list, struct filter_answer *answer)
{
	struct filter_lpm4 key = {
		.bits = FILTER_LIST_BITS + 32, .list = bpf_htonl(list), .addr = p->src[0]};
	struct filter_answer *found = bpf_map_lookup_elem(&lpm4, &key);

	if (found)
		fill(answer, found);
}

static always_inline void ask6(const struct packet *p, __u32 list, struct filter_answer *answer)
{
	struct filter_lpm6 key = {.bits = FILTER_LIST_BITS + 128, .list = bpf_htonl(list)};
	struct filter_answer *found;

	__builtin_memcpy(key.addr, p->src, sizeof(key.addr));
	found = bpf_map_lookup_elem(&lpm6, &key);
	if (found)
		fill(answer, found);
}

static always_inline void ask_prefixes(const struct packet *p, const struct filter_port *port,
				       struct filter_answer *answer)
{
	if (p->v6) {
		if (has_list6 && port->flags & FILTER_PORT_LIST6)
			ask6(p, p->port, answer);
		if (any6_answers && is_open(answer, any6_answers))
			ask6(p, 0, answer);
	} else {
		if (has_list4 && port->flags & FILTER_PORT_LIST4)
			ask4(p, p->port, answer);
		if (any4_answers && is_open(answer, any4_answers))
			ask4(p, 0, answer);
	}
}

/* ---- limits ---- */

static always_inline __u64 clock(bool coarse)
{
	if (clock_is_set)
		return *(volatile __u64 *)&clock_now << FILTER_TIME_SHIFT;
	return (coarse ? bpf_ktime_get_coarse_ns() : bpf_ktime_get_ns()) << FILTER_TIME_SHIFT;
}

/* The time that a limit advances for the datagram's source; NULL when there is none. */
static always_inline __u64 *limit_tat(const struct packet *p, const struct filter_limit *limit,
				      __u64 now)
{
	struct filter_bucket *bucket;
	struct filter_total *total;
	struct source source;
	__u32 key = limit->slot;

	if (limit->by == FILTER_BY_TOTAL) {
		total = bpf_map_lookup_elem(&totals, &key);
		return total ? &total->tat : NULL;
	}
	source = p->v6 ? source_of6(p->src, limit, hash_keys)
		       : source_of4(p->src[0], limit, hash_keys);
	bucket = bpf_map_lookup_elem(&buckets, &source.bucket);
	return bucket ? source_tat(bucket, source.tag, now, limit->tau) : NULL;
}

/* Whether the datagram keeps within the limit, which is charged then. A global function: verified
 * once, on its own. */
__attribute__((noinline)) int keeps(const struct packet *p, const struct filter_limit *limit)
{
	__u64 cost, now, *tat;

	if (!p || !limit)
		return true;
	cost = (limit->bytes ? limit->cost * p->bytes : limit->cost) >> FILTER_COST_SHIFT;
	now = clock(limit->coarse);
	tat = limit_tat(p, limit, now);
	if (!tat)
		return true;
	if (!limit->coarse)
		return limit_charge(tat, now, now, cost, limit->tau);
	if (limit_charge(tat, now, now + (coarse_tick << FILTER_TIME_SHIFT), cost, limit->tau))
		return true;
	now = clock(false);
	return limit_charge(tat, now, now, cost, limit->tau);
}

/* The first limit that the datagram is over, or NULL. */
static always_inline const struct filter_limit *over_limit(const struct packet *p,
							   const struct filter_answer *answer)
{
	for (int i = 0; i < FILTER_BYS; i++) {
		__u32 key = answer->limit[i];
		const struct filter_limit *limit;

		if (!key--)
			continue;
		limit = bpf_map_lookup_elem(&limits, &key);
		if (limit && !keeps(p, limit))
			return limit;
	}
	return NULL;
}

/* ---- the verdict ---- */

/* Whether a length rule drops the datagram; *ret_rule is which. */
static always_inline bool has_bad_length(const struct packet *p, const struct filter_port *port,
					 __u32 *ret_rule)
{
	for (int i = 0; i < 2 * FILTER_LENGTHS_MAX && i < port->n_lengths; i++) {
		const struct filter_length *length = &port->length[i];

		if (p->payload < length->min || p->payload > length->max)
			continue;
		*ret_rule = length->rule;
		return true;
	}
	return false;
}

/* A fragment that the rule for fragments drops, or one without a port. Of that, only the list for
 * any port can say something: where it is to be dropped. */
static always_inline int judge_fragment(const struct packet *p)
{
	struct filter_answer answer = {0};

	if (fragment_rule)
		return judge_by(fragment_rule - 1, fragment_drop ? FILTER_DROP : FILTER_PASS,
				p->bytes);
	if (p->v6 && any6_answers & ASK_VERDICT)
		ask6(p, 0, &answer);
	else if (!p->v6 && any4_answers & ASK_VERDICT)
		ask4(p, 0, &answer);
	if (answer.verdict & FILTER_DROP)
		return judge_by((answer.verdict >> 1) - 1, FILTER_DROP, p->bytes);
	return judge(FILTER_FRAGMENT, FILTER_PASS, p->bytes);
}

static always_inline int judge_datagram(const struct packet *p, const struct filter_port *port)
{
	const struct filter_limit *limit;
	struct filter_answer answer = {0};
	__u32 rule;

	if (has_lengths && has_bad_length(p, port, &rule))
		return judge_by(rule, FILTER_DROP, p->bytes);
	ask_prefixes(p, port, &answer);
	fill(&answer, &port->answer);
	if (has_limits && !(answer.verdict & FILTER_DROP)) {
		limit = over_limit(p, &answer);
		if (limit)
			return judge_by(limit->rule, FILTER_DROP, p->bytes);
	}
	return judge_by((answer.verdict >> 1) - 1, answer.verdict & FILTER_DROP, p->bytes);
}

/* ---- the fast path ---- */

/* Serves what the filter has passed. A datagram that is not for a listener may still be the answer
 * to a session. */
static always_inline int serve_fast(struct xdp_md *ctx, const struct packet *p, __u32 l3,
				    bool listener)
{
	const struct forward_maps maps = {&keys4, &keys6, &ways, &hops, &egress};
	const struct fast_host *own;
	__u32 zero = 0, reason;
	int action = XDP_TX;

	own = bpf_map_lookup_elem(&host, &zero);
	if (!own)
		return XDP_PASS;
	if (fast_mode == FAST_ECHO) {
		reason = p->v6 ? echo(ctx, p, l3, true, own, &locals)
			       : echo(ctx, p, l3, false, own, &locals);
		if (reason == FAST_ECHOED && own->redirect)
			action = (int)bpf_redirect(ctx->ingress_ifindex, 0);
	} else {
		reason = p->v6 ? forward(ctx, p, l3, true, own, &maps, &action)
			       : forward(ctx, p, l3, false, own, &maps, &action);
	}
	/* What is no session's and for no listener is nothing of ours. */
	if (!listener && reason != FAST_FORWARDED &&
	    (reason == FAST_UP_SESSION || reason == FAST_UP_FRAGMENT || reason == FAST_UP_HEADERS ||
	     reason == FAST_UP_BUFFERS))
		return XDP_PASS;
	count_fast(reason, p->bytes);
	return reason <= FAST_FORWARDED ? action : XDP_PASS;
}

SEC("xdp.frags")
int sluice_filter(struct xdp_md *ctx)
{
	struct packet p = {.bytes = bpf_xdp_get_buff_len(ctx)};
	const struct filter_port *port;
	enum parsed parsed = PARSED_UDP;
	__u32 key, l3 = sizeof(struct ethhdr);
	bool listener = true;
	int verdict;

	if (!parse_plain(ctx, &p)) {
		parsed = (enum parsed)parse_any(ctx, &p);
		l3 = p.l3 & L3_MASK;
	}
	if (parsed == PARSED_OTHER)
		return judge(FILTER_OTHER, FILTER_PASS, p.bytes);
	if (parsed == PARSED_HEADER_CHAIN)
		return judge(FILTER_HEADER_CHAIN, FILTER_DROP, p.bytes);
	key = p.has_port ? port_index[p.port] : 0;
	port = bpf_map_lookup_elem(&ports, &key);
	if (!port || (is_serving && !(p.has_port && serves(&p, port->flags)))) {
		listener = false;
		verdict = judge(FILTER_OTHER, FILTER_PASS, p.bytes);
	} else if (parsed == PARSED_MALFORMED) {
		return judge(FILTER_MALFORMED, FILTER_DROP, p.bytes);
	} else if (parsed == PARSED_LATER_FRAGMENT || (fragment_drop && p.fragment)) {
		return judge_fragment(&p);
	} else {
		verdict = judge_datagram(&p, port);
	}
	if (fast_mode == FAST_OFF || verdict != XDP_PASS || parsed != PARSED_UDP ||
	    (fast_mode == FAST_ECHO && !listener))
		return verdict;
	return serve_fast(ctx, &p, l3, listener);
}
