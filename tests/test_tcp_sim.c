/* SPDX-License-Identifier: MIT */
/*
 * Stream connections under random scripts and random trouble, many seeds. Of each connection holds:
 * a byte that arrives is the right one; when neither end was rough and an upstream was found, all
 * bytes and both ends arrive; and at the end nothing is left. SIM_FIRST and SIM_LAST in the
 * environment choose other seeds.
 */
#include <errno.h>
#include <stdlib.h>

#include "fake_io_priv.h"
#include "sim.h"

enum {
	LINKS = 30,
	STEPS_MAX = 100 * 1000,
	SEEDS = 400 / SIM_PART,
};

/* How an end leaves. */
enum leaving { LEAVE_SHUT, LEAVE_CLOSE, LEAVE_RESET, LEAVE_RESET_AT, LEAVE_STALL, LEAVINGS };

struct actor {
	struct end end;
	enum leaving leaving;
	uint64_t write_max, read_max; /* a step */
	uint64_t leaves_at;           /* bytes written */
	uint8_t pause_percent;
	bool there, gone;
};

struct link {
	struct actor client, upstream;
	struct conn *conn; /* as long as its slot is not another's */
};

struct world {
	struct sim sim;
	struct link links[LINKS];
	uint32_t opened;
	bool rough, scarce, unreachable;
	bool bulky; /* receives are large, most of the time: so streams are moved */
};

static bool chance(struct sim *sim, uint32_t percent)
{
	return sim_below(sim, 100) < percent;
}

/* Small values are as likely as large ones. */
static uint64_t spread(struct sim *sim, uint64_t max)
{
	uint64_t bits = 1;

	while (bits < 63 && (UINT64_C(1) << bits) <= max)
		bits++;
	return MIN(sim_below(sim, UINT64_C(1) << sim_below(sim, bits + 1)), max);
}

/* ---- ends ---- */

static void actor_start(struct world *world, struct actor *actor)
{
	struct sim *sim = &world->sim;
	struct end *end = &actor->end;
	/* What small windows and small receives let through in reasonable time. */
	const struct fake_conf *fake = fake_conf(sim->io);
	uint64_t most = MIN(UINT64_C(300) * MIN(fake->window_bytes, fake->chunk_max), 600 * 1000);

	actor->there = true;
	actor->leaving = world->rough && chance(sim, 30) ? sim_below(sim, LEAVINGS) : LEAVE_SHUT;
	end->goal = spread(sim, most);
	end->shuts = actor->leaving == LEAVE_SHUT;
	actor->write_max = 1 + spread(sim, 200 * 1000) + most / 200;
	actor->read_max = 1 + spread(sim, 200 * 1000) + most / 200;
	actor->pause_percent = (uint8_t)sim_below(sim, 90);
	if (world->bulky && chance(sim, 70)) {
		end->goal = sim_below(sim, 500 * 1000);
		actor->write_max = actor->read_max = 200 * 1000;
	}
	actor->leaves_at = end->goal;
	if (actor->leaving == LEAVE_RESET)
		actor->leaves_at = sim_below(sim, end->goal + 1);
	if (actor->leaving == LEAVE_RESET_AT)
		fake_peer_reset_at(end->peer, 1 + sim_below(sim, end->goal + 1));
	if (chance(sim, 20))
		fake_peer_window(end->peer, 1 + (uint32_t)(most / 300));
}

static void actor_leave(struct actor *actor)
{
	if (actor->end.wrote < actor->leaves_at && !actor->end.broken)
		return;
	if (actor->leaving == LEAVE_CLOSE)
		fake_peer_close(actor->end.peer);
	else if (actor->leaving == LEAVE_RESET)
		fake_peer_reset(actor->end.peer);
	else if (actor->leaving == LEAVE_RESET_AT)
		/* Too few bytes came. */
		fake_peer_reset(actor->end.peer);
	else
		return;
	actor->gone = true;
}

static bool is_connecting(const struct actor *actor)
{
	const struct io_sock *sock = actor->end.peer->sock;

	return sock && (sock->flags & F_CONNECT);
}

static void actor_step(struct sim *sim, struct actor *actor)
{
	if (!actor->there || actor->gone || is_connecting(actor))
		return;
	if (!chance(sim, actor->pause_percent))
		end_write(sim, &actor->end, actor->write_max);
	if (actor->leaving != LEAVE_STALL && !chance(sim, actor->pause_percent))
		end_read(sim, &actor->end, actor->read_max);
	actor_leave(actor);
}

/* ---- the world ---- */

/* Streams flow in large pieces, or for a while in small ones. */
static void world_pace(struct world *world)
{
	struct fake_conf *fake = fake_conf(world->sim.io);
	bool large = chance(&world->sim, 85);

	fake->chunk_max = large ? BUF_LARGE_BYTES : 6000;
	fake->whole_percent = large ? 80 : 0;
	fake->small_percent = large ? 5 : 50;
}

/* What a seed means. */
static void world_open(struct world *world, uint64_t seed)
{
	static const enum conn_mode modes[] = {CONN_RELAY, CONN_ECHO, CONN_RELAY, CONN_DISCARD};
	struct sim *sim = &world->sim;
	struct sim_conf conf = {
		.mode = modes[seed % 4],
		.n_targets = 1 + seed % 3,
		.conns_max = LINKS,
		.connect_ns = 50 * NS_PER_MS,
		.buffer_bytes = UINT64_C(256 << 10) << seed % 5,
	};

	*world = (struct world){
		.rough = seed / 4 % 2,
		.scarce = seed / 8 % 2,
		.unreachable = seed / 16 % 2,
		.bulky = seed / 32 % 4 == 1,
	};
	conf.idle_ns = world->rough ? 3 * NS_PER_S : 0;
	sim_open(sim, seed, &conf);
	fake_conf(sim->io)->window_bytes = 1 + (uint32_t)spread(sim, 256 << 10);
	fake_conf(sim->io)->chunk_max = 1 + (uint32_t)spread(sim, BUF_LARGE_BYTES - 1);
	if (!world->bulky)
		return;
	fake_conf(sim->io)->window_bytes = 100 * 1000 + (uint32_t)spread(sim, 256 << 10);
	fake_conf(sim->io)->pipes_max = 1 + (uint32_t)sim_below(sim, 2 * LINKS);
	world_pace(world);
}

/* The network changes while connections are made. */
static void world_weather(struct world *world)
{
	struct sim *sim = &world->sim;

	for (uint32_t i = 0; i < sim->conf.n_targets && world->unreachable; i++)
		fake_dial_plan(sim->io, &sim->targets[i], sim_below(sim, 3),
			       chance(sim, 50) ? -ECONNREFUSED : -ENETUNREACH,
			       (int64_t)sim_below(sim, 60) * NS_PER_MS);
	if (world->unreachable && world->rough)
		fake_fds_gone(sim->io, chance(sim, 10) ? -EMFILE : 0);
}

static void link_open(struct world *world)
{
	struct link *link = &world->links[world->opened++];
	struct sim *sim = &world->sim;

	world_weather(world);
	link->conn = sim_accept(sim, &link->client.end);
	sim_check(sim, link->conn);
	for (uint32_t i = 0; i + 1 < world->opened; i++)
		if (world->links[i].conn == link->conn)
			world->links[i].conn = NULL;
	link->client.end.key_out = world->opened;
	link->client.end.key_in = world->opened;
	if (sim->conf.mode == CONN_RELAY)
		link->client.end.key_in += LINKS;
	actor_start(world, &link->client);
}

/* Finds out whose upstream a dialled stream is. */
static void upstream_found(struct world *world, struct end *end)
{
	struct io_sock *sock = end->peer->sock;
	struct conn_side *side;
	struct conn *conn;

	if (!sock)
		return;
	side = container_of(sock->owner, struct conn_side, handler);
	conn = container_of(side, struct conn, upstream);
	for (uint32_t i = 0; i < world->opened; i++) {
		struct link *link = &world->links[i];

		if (link->conn != conn)
			continue;
		/* An earlier one was given up before it was connected. */
		sim_check_eq(&world->sim, link->upstream.end.got, 0);
		link->upstream = (struct actor){.end = *end};
		link->upstream.end.key_out = link->client.end.key_in;
		link->upstream.end.key_in = link->client.end.key_out;
		actor_start(world, &link->upstream);
		return;
	}
	sim_check(&world->sim, !"an upstream that belongs to no connection");
}

static void world_step(struct world *world)
{
	struct sim *sim = &world->sim;
	struct end end;

	if (world->opened < LINKS && chance(sim, 20))
		link_open(world);
	for (uint32_t i = 0; i < world->opened; i++) {
		actor_step(sim, &world->links[i].client);
		actor_step(sim, &world->links[i].upstream);
	}
	if (world->scarce && chance(sim, 10))
		fake_conf(sim->io)->buffers_gone = chance(sim, 40);
	if (world->bulky && chance(sim, 10))
		world_pace(world);
	sim_turn(sim, (int64_t)sim_below(sim, 2000) * 1000);
	for (uint32_t i = 0; i < sim->conf.n_targets; i++)
		while (sim_dialled(sim, i, &end))
			upstream_found(world, &end);
}

/* ---- checks ---- */

static bool is_rough(const struct link *link)
{
	return link->client.leaving || link->upstream.leaving;
}

/* Whether from's bytes and its end have reached to. */
static void check_arrived(struct sim *sim, const struct end *from, const struct end *to)
{
	sim_check_eq(sim, from->wrote, from->goal);
	sim_check_eq(sim, to->got, sim->conf.mode == CONN_DISCARD ? 0 : from->wrote);
	sim_check_eq(sim, to->state, END_EOF);
}

/* Returns true when bytes were relayed, or might have been. */
static bool link_check(struct sim *sim, struct link *link)
{
	struct end *client = &link->client.end, *upstream = &link->upstream.end;

	if (!link->client.gone)
		end_read(sim, client, UINT64_MAX);
	if (sim->conf.mode != CONN_RELAY) {
		sim_check(sim, client->got <= client->wrote);
		if (!is_rough(link))
			check_arrived(sim, client, client);
		return true;
	}
	if (link->upstream.there && !link->upstream.gone)
		end_read(sim, upstream, UINT64_MAX);
	sim_check(sim, client->got <= upstream->wrote);
	sim_check(sim, upstream->got <= client->wrote);
	if (is_rough(link))
		return true;
	/* None was found, or one was given up before it was connected: counted elsewhere. */
	if (!link->upstream.there || (client->state == END_RESET && !client->got)) {
		sim_check_eq(sim, client->state, END_RESET);
		sim_check_eq(sim, upstream->got, 0);
		return false;
	}
	check_arrived(sim, client, upstream);
	check_arrived(sim, upstream, client);
	return true;
}

static void world_check(struct world *world)
{
	struct sim *sim = &world->sim;
	const struct stats *stats = &sim->stats;
	uint64_t written = 0, unserved = 0, rough = 0;

	for (uint32_t i = 0; i < LINKS; i++) {
		struct link *link = &world->links[i];

		rough += is_rough(link);
		if (link_check(sim, link))
			written += link->client.end.wrote + link->upstream.end.wrote;
		else
			unserved++;
	}
	sim_check_eq(sim, stats->conns_accepted, LINKS);
	sim_check_eq(sim, stats->conns_closed, LINKS);
	sim_check(sim, stats->err_buffer_evicted <= rough);
	sim_check(sim, stats->bytes_in <= written);
	sim_check(sim, stats->bytes_out <= stats->bytes_in);
	sim_check(sim, stats->err_conn_reset <= rough);
	sim_check(sim, unserved <= stats->err_no_upstream);
	if (!rough) {
		bool discards = sim->conf.mode == CONN_DISCARD;

		sim_check_eq(sim, stats->err_idle_timeout, 0);
		sim_check_eq(sim, stats->bytes_in, written);
		sim_check_eq(sim, stats->bytes_out, discards ? 0 : written);
		sim_check_eq(sim, stats->err_no_upstream, unserved);
	}
}

static void count_moves(struct sim *sim, struct fake_moves *sum)
{
	const struct fake_moves *moves = fake_moves(sim->io);

	sim_check_eq(sim, moves->pipes, 0);
	sim_check_eq(sim, moves->started, sim->stats.moves_started);
	sim_check_eq(sim, moves->refused, sim->stats.moves_refused);
	sum->started += moves->started;
	sum->stopped += moves->stopped;
	sum->refused += moves->refused;
	sum->bytes += moves->bytes;
}

static void world_run(uint64_t seed, struct fake_moves *sum)
{
	struct world *world = malloc(sizeof(*world));
	uint32_t steps = 0;

	cr_assert(world);
	world_open(world, seed);
	while (world->opened < LINKS || world->sim.conns.live_n) {
		world_step(world);
		sim_check(&world->sim, steps++ < STEPS_MAX);
	}
	world_check(world);
	count_moves(&world->sim, sum);
	sim_close(&world->sim);
	free(world);
}

static uint64_t seed_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

Test(tcp_sim, random_scripts)
{
	uint64_t first = seed_from("SIM_FIRST", 1), last = seed_from("SIM_LAST", SEEDS);
	struct fake_moves sum = {0};

	for (uint64_t seed = first; seed <= last; seed++)
		world_run(seed, &sum);
	if (last < first + SEEDS - 1)
		return;
	/* Moving began, ended because little came, and met no pipe. */
	cr_assert_gt(sum.started, SEEDS);
	cr_assert_gt(sum.stopped, SEEDS / 10);
	cr_assert_gt(sum.refused, SEEDS / 10);
	cr_assert_gt(sum.bytes, SEEDS * UINT64_C(100 * 1000));
}
