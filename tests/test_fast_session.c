/* SPDX-License-Identifier: MIT */
/* The table of sessions that programs and server share: room, numbers, counters, and any order of
 * sessions that come and go. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fast_net.h"
#include "xdp/load.h"

TestSuite(fast_session, .timeout = 120);

static int add(struct xdp_sessions *sessions, const struct flow *flow, uint32_t *ret_number)
{
	const struct xdp_session session = {
		.client = &flow->client,
		.asked = &flow->asked,
		.source = &flow->source,
		.target = &flow->target,
	};

	return xdp_session_add(sessions, &session, ret_number);
}

/* ---- room and numbers, without a program ---- */

Test(fast_session, room)
{
	enum { CAPACITY = 50 };
	struct xdp_sessions *sessions = fast_sessions(CAPACITY);
	uint32_t numbers[CAPACITY], number;
	bool used[CAPACITY] = {false};

	for (uint32_t round = 0; round < 3; round++) {
		struct flow flow;

		memset(used, 0, sizeof(used));
		for (uint32_t i = 0; i < CAPACITY; i++) {
			flow = net_flow(i % 2, 1 + i);
			cr_assert_eq(add(sessions, &flow, &numbers[i]), 0);
			cr_assert(numbers[i] < CAPACITY && !used[numbers[i]]);
			used[numbers[i]] = true;
			cr_assert_eq(xdp_session_last_ns(sessions, numbers[i]), 0);
		}
		for (uint32_t i = 0; i < 4; i++) {
			flow = net_flow(i % 2, 100);
			cr_assert_eq(add(sessions, &flow, &number), -ENOSPC);
			xdp_sessions_reclaim(sessions);
		}
		/* A number that was removed is not given out before it was waited for. */
		xdp_session_remove(sessions, numbers[7]);
		cr_assert_eq(add(sessions, &flow, &number), -ENOSPC);
		xdp_sessions_reclaim(sessions);
		cr_assert_eq(add(sessions, &flow, &number), 0);
		cr_assert_eq(number, numbers[7]);
		cr_assert_eq(add(sessions, &flow, &number), -ENOSPC);
		for (uint32_t i = 0; i < CAPACITY; i++)
			xdp_session_remove(sessions, numbers[i]);
		cr_assert_eq(add(sessions, &flow, &number), -ENOSPC);
		xdp_sessions_reclaim(sessions);
	}
	xdp_sessions_free(sessions);
}

Test(fast_session, capacity_has_bounds)
{
	struct xdp_sessions *sessions = fast_sessions(0);
	struct flow first = net_flow(false, 1), second = net_flow(false, 2);
	uint32_t number;

	cr_assert_eq(add(sessions, &first, &number), 0);
	cr_assert_eq(add(sessions, &second, &number), -ENOSPC);
	xdp_sessions_free(sessions);
	xdp_sessions_free(fast_sessions(UINT32_MAX));
	xdp_sessions_free(NULL);
}

Test(fast_session, addresses_that_are_not_forwarded)
{
	static const char *const odd[] = {"fe80::1", "febf::1", "::ffff:10.0.0.1", NULL};
	struct xdp_sessions *sessions = fast_sessions(4);
	uint32_t number, n = 0;

	for (uint32_t i = 0; i < 2 * 4 * ARRAY_SIZE(odd); i++) {
		struct flow flow = net_flow(i % 2, 1);
		const char *host = odd[i / 8];
		union addr_inet *addr[] = {&flow.client, &flow.asked, &flow.source, &flow.target};

		/* The other family, where nothing odd is left. */
		if (!host)
			host = i % 2 ? "10.0.0.1" : "2001:db8::1";
		*addr[i / 2 % 4] = fast_addr(host, 1000);
		cr_assert_eq(add(sessions, &flow, &number), -EAFNOSUPPORT);
		*addr[i / 2 % 4] = (union addr_inet){0};
		cr_assert_eq(add(sessions, &flow, &number), -EAFNOSUPPORT);
		memset(&flow, 0, sizeof(flow));
		cr_assert_eq(add(sessions, &flow, &number), -EAFNOSUPPORT);
	}
	/* No number was used up. */
	for (; n < 4; n++) {
		struct flow flow = net_flow(false, 1 + n);

		cr_assert_eq(add(sessions, &flow, &number), 0);
	}
	xdp_sessions_free(sessions);
}

/* Neither of its two keys may be there already. */
Test(fast_session, the_same_twice)
{
	enum { CAPACITY = 10 };
	struct xdp_sessions *sessions = fast_sessions(CAPACITY);
	uint32_t number, first, n = 0;

	for (uint32_t i = 0; i < 2; i++) {
		struct flow flow = net_flow(i, 1), other;

		cr_assert_eq(add(sessions, &flow, &first), 0);
		for (uint32_t round = 0; round < 3; round++) {
			cr_assert_eq(add(sessions, &flow, &number), -EEXIST);
			other = net_flow(i, 2);
			other.client = flow.client;
			other.asked = flow.asked;
			cr_assert_eq(add(sessions, &other, &number), -EEXIST);
			other = net_flow(i, 2);
			other.source = flow.source;
			other.target = flow.target;
			cr_assert_eq(add(sessions, &other, &number), -EEXIST);
			/* What comes from one is what comes from the other. */
			other = net_flow(i, 3);
			other.target = other.client;
			other.source = other.asked;
			cr_assert_eq(add(sessions, &other, &number), -EEXIST);
			xdp_sessions_reclaim(sessions);
		}
		/* Nothing is left of those. */
		other = net_flow(i, 2);
		cr_assert_eq(add(sessions, &other, &number), 0);
		xdp_session_remove(sessions, number);
		other = net_flow(i, 3);
		cr_assert_eq(add(sessions, &other, &number), 0);
		xdp_session_remove(sessions, number);
		cr_assert_eq(add(sessions, &flow, &number), -EEXIST);
		xdp_session_remove(sessions, first);
		cr_assert_eq(add(sessions, &flow, &number), 0);
		xdp_session_remove(sessions, number);
		xdp_sessions_reclaim(sessions);
	}
	for (; n < CAPACITY; n++) {
		struct flow flow = net_flow(false, 1 + n);

		cr_assert_eq(add(sessions, &flow, &number), 0);
	}
	xdp_sessions_free(sessions);
}

Test(fast_session, interfaces_to_send_out_of)
{
	struct xdp_sessions *sessions = fast_sessions(1);

	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < FAST_EGRESS_MAX; i++)
			cr_assert_eq(xdp_sessions_egress(sessions, 10 + i, true), 0);
		cr_assert_lt(xdp_sessions_egress(sessions, 9, true), 0);
		cr_assert_eq(xdp_sessions_egress(sessions, 9, false), 0);
		for (uint32_t i = 0; i < FAST_EGRESS_MAX; i++)
			cr_assert_eq(xdp_sessions_egress(sessions, 10 + i, false), 0);
	}
	xdp_sessions_free(sessions);
}

/* ---- with programs ---- */

Test(fast_session, removed_ones_go_up)
{
	uint32_t numbers[2];
	struct net net;

	net_open(&net, 2);
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < 2; i++) {
			struct flow flow = net_flow(i, 1);

			cr_assert_eq(net_add(&net, &flow, &numbers[i]), 0);
			for (uint32_t way = 0; way < FAST_WAYS; way++)
				net_expect(&net, &flow, way, 9);
		}
		for (uint32_t i = 0; i < 2; i++) {
			struct flow flow = net_flow(i, 1);

			xdp_session_remove(net.sessions, numbers[i]);
			net_expect_up(&net, &flow, FAST_TO_TARGET, 9, FAST_UP_SESSION);
			net_expect_up(&net, &flow, FAST_TO_CLIENT, 9, FAST_UNCOUNTED);
		}
		xdp_sessions_reclaim(net.sessions);
	}
	net_close(&net);
}

/* A flow whose target is where its client is. */
static struct flow flow_back(bool v6, uint32_t host)
{
	struct flow flow = net_flow(v6, host);

	flow.target = net_flow(v6, 9).client;
	return flow;
}

static void expect_back(struct net *net, const struct flow *flow)
{
	static struct frame in, out;

	net_arrives(flow, FAST_TO_TARGET, 9, &in);
	fast_forwarded(&in, &flow->source, &flow->target, net_mac[NET_CLIENTS],
		       net_neighbour[NET_CLIENTS], &out);
	fast_expect(&net->side[NET_CLIENTS], &in, XDP_TX, &out, FAST_FORWARDED);
}

/* One number, mostly within one tick of the clock, with what was looked up for the session before
 * it: out of one interface, and of the other. */
static void give_out_again(bool at_once)
{
	struct net net;

	net_open(&net, 1);
	for (uint32_t i = 0; i < 200; i++) {
		bool v6 = i / 2 % 2, back = i % 3 == 2;
		struct flow flow = back ? flow_back(v6, 1 + i % 8) : net_flow(v6, 1 + i % 8);
		uint32_t number;

		cr_assert_eq(net_add(&net, &flow, &number), 0);
		cr_assert_eq(number, 0);
		cr_assert_eq(xdp_session_last_ns(net.sessions, number), 0);
		if (back) {
			expect_back(&net, &flow);
		} else {
			net_expect(&net, &flow, FAST_TO_TARGET, 9);
			net_expect(&net, &flow, FAST_TO_CLIENT, 9);
		}
		xdp_session_remove(net.sessions, number);
		net_expect_up(&net, &flow, FAST_TO_TARGET, 9, FAST_UP_SESSION);
		if (at_once) {
			net.sessions->n_free += net.sessions->n_removed;
			net.sessions->n_removed = 0;
		} else {
			xdp_sessions_reclaim(net.sessions);
		}
	}
	net_close(&net);
}

Test(fast_session, numbers_that_are_given_out_again)
{
	give_out_again(false);
}

/* As if nothing had to be waited for: what was looked up is not old. */
Test(fast_session, numbers_that_are_given_out_again_at_once)
{
	give_out_again(true);
}

/* Next hops are remembered in fewer places than there are ways. */
Test(fast_session, ways_that_share_a_place)
{
	enum { APART = FAST_HOPS / FAST_WAYS };
	struct flow there = net_flow(false, 1), back = flow_back(false, 2);
	struct net net;
	uint32_t number;

	net_open(&net, APART + 1);
	for (uint32_t i = 0; i <= APART; i++) {
		struct flow flow = net_flow(true, 1 + i);

		flow = i == 0 ? there : i == APART ? back : flow;
		cr_assert_eq(net_add(&net, &flow, &number), 0);
		cr_assert_eq(number, i);
	}
	for (uint32_t i = 0; i < 1000; i++) {
		net_expect(&net, &there, FAST_TO_TARGET, 9);
		expect_back(&net, &back);
	}
	net_close(&net);
}

static struct xdp_session_row read_one(struct net *net, int side)
{
	struct xdp_session_row *rows, row;
	char error[XDP_ERROR_MAX] = "";

	cr_assert_eq(xdp_sessions_read(net->side[side].xdp, &rows, error), 1, "%s", error);
	row = rows[0];
	free(rows);
	return row;
}

Test(fast_session, counters)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct flow flow = net_flow(i, 1);
		uint64_t packets[FAST_WAYS] = {0}, bytes[FAST_WAYS] = {0};
		int64_t before = 0, last;
		uint32_t number, seed = 1;
		struct net net;

		net_open(&net, 3);
		cr_assert_eq(net_add(&net, &flow, &number), 0);
		for (uint32_t round = 0; round < 60; round++) {
			uint32_t way = round * 7 / 3 % 2, size = seed++ * 7919 % 1400;
			struct xdp_session_row row;

			if (round % 10 == 0)
				fast_step_clock();
			net_expect(&net, &flow, way, size);
			packets[way]++;
			bytes[way] += size;
			last = xdp_session_last_ns(net.sessions, number);
			cr_assert(round % 10 ? last >= before : last > before);
			before = last;
			if (round % 3 == 0)
				for (uint32_t n = 1; n < 4; n++)
					xdp_session_note(net.sessions, number, !way, n, n * 1000);
			row = read_one(&net, round % 2);
			cr_assert(addr_inet_equal(&row.client, &flow.client));
			cr_assert(addr_inet_equal(&row.asked, &flow.asked));
			cr_assert(addr_inet_equal(&row.source, &flow.source));
			cr_assert(addr_inet_equal(&row.target, &flow.target));
			cr_assert_eq(row.last_ns, last);
			cr_assert_eq(row.way[way].packets, packets[way]);
			cr_assert_eq(row.way[way].bytes, bytes[way]);
			cr_assert_eq(row.way[!way].packets, packets[!way]);
			cr_assert_eq(row.way[0].socket_packets + row.way[1].socket_packets,
				     (round / 3 + 1) * 6);
			cr_assert_eq(row.way[!way].socket_bytes,
				     row.way[!way].socket_packets * 1000);
		}
		/* What goes up is not forwarded, and a set that follows keeps the table. */
		net_expect_up(&net, &flow, FAST_TO_TARGET, 2000, FAST_UP_MTU);
		fast_replace(&net.side[NET_CLIENTS], "default pass\ndrop to-port 99");
		net_expect(&net, &flow, FAST_TO_TARGET, 1);
		cr_assert_eq(read_one(&net, NET_CLIENTS).way[FAST_TO_TARGET].packets,
			     packets[FAST_TO_TARGET] + 1);
		/* The next session with the number begins with nothing. */
		xdp_session_remove(net.sessions, number);
		for (uint32_t n = 0; n < 3; n++) {
			cr_assert_eq(net_add(&net, &flow, &number), 0);
			cr_assert_eq(read_one(&net, 0).way[FAST_TO_TARGET].packets, 0);
			cr_assert_eq(read_one(&net, 0).way[FAST_TO_CLIENT].socket_packets, 0);
			xdp_session_remove(net.sessions, number);
			xdp_sessions_reclaim(net.sessions);
		}
		net_close(&net);
	}
}

/* ---- any order ---- */

enum { TUPLES = 1600, CAPACITY = 1100, STEPS = 20000 };
enum number_is { FREE, USED, REMOVED };

/* What there is: tuples by a number of their own, and what became of the table's numbers. */
struct model {
	bool there[TUPLES];
	uint32_t number[TUPLES];
	enum number_is is[CAPACITY];
	uint32_t n_free, n_used;
};

/* The first of its family have the same targets and sources as the ones behind them. */
static struct flow tuple_flow(uint32_t tuple)
{
	bool v6 = tuple % 2;
	uint32_t i = tuple / 2, far = i < 200 ? i + 400 : i;
	struct flow flow = net_flow(v6, 1 + i % 9);

	flow.client.v4.sin_port = htons((uint16_t)(1000 + i));
	flow.target = net_flow(v6, 1 + far % 9).target;
	flow.source.v4.sin_port = htons((uint16_t)(2000 + far));
	return flow;
}

static uint32_t twin_of(uint32_t tuple)
{
	if (tuple / 2 < 200)
		return tuple + 800;
	return tuple / 2 >= 400 && tuple / 2 < 600 ? tuple - 800 : tuple;
}

static void model_add(struct net *net, struct model *model, uint32_t tuple)
{
	bool is_there = model->there[tuple] || model->there[twin_of(tuple)];
	int want = model->n_free ? (is_there ? -EEXIST : 0) : -ENOSPC;
	struct flow flow = tuple_flow(tuple);
	uint32_t number = 0;

	cr_assert_eq(net_add(net, &flow, &number), want);
	if (want == -ENOSPC)
		return;
	model->n_free--;
	if (want)
		return; /* the number is back at the next reclaim */
	cr_assert_lt(number, CAPACITY);
	cr_assert_eq(model->is[number], FREE);
	model->is[number] = USED;
	model->there[tuple] = true;
	model->number[tuple] = number;
	model->n_used++;
}

static void model_remove(struct net *net, struct model *model, uint32_t tuple)
{
	if (!model->there[tuple])
		return;
	xdp_session_remove(net->sessions, model->number[tuple]);
	model->there[tuple] = false;
	model->is[model->number[tuple]] = REMOVED;
	model->n_used--;
}

static void model_reclaim(struct net *net, struct model *model)
{
	xdp_sessions_reclaim(net->sessions);
	for (uint32_t i = 0; i < CAPACITY; i++)
		if (model->is[i] == REMOVED)
			model->is[i] = FREE;
	model->n_free = CAPACITY - model->n_used;
}

static void model_look(struct net *net, const struct model *model, uint32_t tuple)
{
	struct flow flow = tuple_flow(tuple);
	bool twin = model->there[twin_of(tuple)];

	if (model->there[tuple])
		net_expect(net, &flow, FAST_TO_TARGET, tuple % 50);
	else
		net_expect_up(net, &flow, FAST_TO_TARGET, tuple % 50, FAST_UP_SESSION);
	if (model->there[tuple])
		net_expect(net, &flow, FAST_TO_CLIENT, tuple % 50);
	else if (!twin)
		net_expect_up(net, &flow, FAST_TO_CLIENT, tuple % 50, FAST_UNCOUNTED);
}

Test(fast_session, any_order)
{
	static struct model model;
	struct xdp_session_row *rows;
	char error[XDP_ERROR_MAX];
	uint32_t most = 0;
	struct net net;

	net_open(&net, CAPACITY);
	model.n_free = CAPACITY;
	for (uint32_t step = 0; step < STEPS; step++) {
		struct fast *fast = &net.side[0];
		/* There come to be more, and fewer. */
		uint32_t adds = step / 4000 % 2 ? 30 : 70;

		if (fast_below(fast, 200) == 0)
			model_reclaim(&net, &model);
		if (fast_below(fast, 100) < adds)
			model_add(&net, &model, fast_below(fast, TUPLES));
		else
			model_remove(&net, &model, fast_below(fast, TUPLES));
		most = MAX(most, model.n_used);
		model_look(&net, &model, fast_below(fast, TUPLES));
	}
	cr_assert_gt(most, 600);
	cr_assert_eq(xdp_sessions_read(net.side[1].xdp, &rows, error), (int)model.n_used);
	free(rows);
	for (uint32_t i = 0; i < TUPLES; i++)
		model_look(&net, &model, i);
	for (uint32_t i = 0; i < TUPLES; i++)
		model_remove(&net, &model, i);
	model_reclaim(&net, &model);
	cr_assert_eq(model.n_free, CAPACITY);
	for (uint32_t i = 400; i < TUPLES; i++)
		model_add(&net, &model, i);
	cr_assert_eq(model.n_free, 0);
	net_close(&net);
}
