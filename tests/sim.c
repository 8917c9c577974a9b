/* SPDX-License-Identifier: MIT */
/* Owns one simulated worker. Invariant: after each turn no queue is longer than the limits
 * allow. */
#include "sim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	TURNS_MAX = 50 * 1000, /* far more than any test needs */
	SETTLE_TURNS = 80,
	READ_BYTES = 64 << 10,
};

static uint64_t seed_now;

/* ---- setting up ---- */

static void say_seed(int signo)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "aborted with seed %" PRIu64 "\n", seed_now);

	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		_exit(1);
	signal(signo, SIG_DFL);
	raise(signo);
}

union addr_inet sim_v4(uint32_t host, uint16_t port)
{
	union addr_inet inet;

	memset(&inet, 0, sizeof(inet));
	inet.v4.sin_family = AF_INET;
	inet.v4.sin_addr.s_addr = htonl(host);
	inet.v4.sin_port = htons(port);
	return inet;
}

union addr_inet sim_v6(const char *host, uint16_t port)
{
	union addr_inet inet;

	memset(&inet, 0, sizeof(inet));
	inet.v6.sin6_family = AF_INET6;
	cr_assert_eq(inet_pton(AF_INET6, host, &inet.v6.sin6_addr), 1);
	inet.v6.sin6_port = htons(port);
	return inet;
}

static void confs_fill(struct sim *sim, const struct sim_conf *conf)
{
	sim->conf = (struct conn_conf){
		.mode = conf->mode,
		.targets = sim->targets,
		.n_targets = conf->n_targets ? conf->n_targets : 1,
		.connect_timeout_ns = conf->connect_ns ? conf->connect_ns : 5 * NS_PER_S,
		.idle_timeout_ns = conf->idle_ns,
		.conns_max = conf->conns_max ? conf->conns_max : 100,
	};
	sim->udp_conf = (struct udp_conf){
		.mode = conf->mode,
		.targets = sim->targets,
		.n_targets = sim->conf.n_targets,
		.idle_timeout_ns = conf->idle_ns ? conf->idle_ns : 60 * NS_PER_S,
		.sessions_max = conf->sessions_max,
	};
	sim->limit.left = sim->conf.conns_max;
	sim->udp_limit.left = conf->sessions_max;
}

/* How the backend behaves, unless a test says otherwise. */
static void backend_fill(struct sim *sim, bool plain)
{
	static const uint32_t chunks[] = {1000, 20 * 1000, BUF_LARGE_BYTES};
	struct fake_conf *fake = fake_conf(sim->io);

	fake_seed(sim->io, sim->seed);
	fake->late_percent = plain ? 0 : (uint8_t)sim_below(sim, 60);
	fake->small_percent = (uint8_t)sim_below(sim, 101);
	fake->chunk_max = chunks[sim_below(sim, ARRAY_SIZE(chunks))];
	fake->overshoots = !plain && sim_below(sim, 2);
	fake->sends_reported_late = !plain && sim_below(sim, 2);
	fake->whole_percent = plain ? 0 : (uint8_t)sim_below(sim, 101);
	fake->refuse_percent = plain ? 0 : (uint8_t)sim_below(sim, 10);
}

void sim_open(struct sim *sim, uint64_t seed, const struct sim_conf *conf)
{
	struct io_conf io_conf = {
		.stats = &sim->stats,
		.socks_max = conf->socks_max ? conf->socks_max : 10 * 1000,
		.buffer_bytes = conf->buffer_bytes ? conf->buffer_bytes : 64 << 20,
	};
	bool is_udp = conf->sessions_max;

	memset(sim, 0, sizeof(*sim));
	seed_now = sim->seed = seed;
	signal(SIGABRT, say_seed);
	for (uint32_t i = 0; i < SIM_TARGETS; i++)
		sim->targets[i] = (struct addr){
			.kind = is_udp ? ADDR_UDP : ADDR_TCP,
			.len = sizeof(struct sockaddr_in),
			.inet = sim_v4(0x0a010101, (uint16_t)(SIM_TARGET_PORT + i)),
		};
	confs_fill(sim, conf);
	cr_assert_eq(fake_io_ops.open(&sim->io, &io_conf), 0);
	backend_fill(sim, conf->plain);
	timer_wheel_init(&sim->wheel, sim->io->now_ns);
	cr_assert_eq(conn_mgr_init(&sim->conns, sim->io, &sim->wheel, &sim->stats, &sim->conf,
				   &sim->limit),
		     0);
	cr_assert_eq(udp_mgr_init(&sim->udp, sim->io, &sim->wheel, &sim->stats, &sim->udp_conf,
				  &sim->udp_limit, seed),
		     0);
	for (uint32_t i = 0; i < SIM_TARGETS && !is_udp; i++)
		fake_dial_plan(sim->io, &sim->targets[i], FAKE_ACCEPT, 0, 0);
}

void sim_close(struct sim *sim)
{
	sim_check_eq(sim, sim->conns.live_n, 0);
	sim_check_eq(sim, sim->udp.live_n, 0);
	sim_check_eq(sim, sim->limit.left, sim->conf.conns_max);
	sim_check_eq(sim, sim->udp_limit.left, sim->udp_conf.sessions_max);
	sim_check_eq(sim, sim->stats.conns_accepted, sim->stats.conns_closed);
	sim_check_eq(sim, sim->stats.sessions_opened, sim->stats.sessions_closed);
	sim_check_eq(sim, timer_next_ns(&sim->wheel, sim->io->now_ns), -1);
	sim_check_eq(sim, fake_buffers_lent(sim->io), 0);
	sim_check_eq(sim, sim->io->pool.used_bytes, 0);
	sim_check_eq(sim, sim->io->starved, 0);
	sim_check_eq(sim, fake_fds_open(sim->io), 0);
	conn_mgr_free(&sim->conns);
	udp_mgr_free(&sim->udp);
	fake_io_ops.free(sim->io);
}

void sim_seeds(const struct sim_conf *conf, void (*body)(struct sim *sim))
{
	for (uint64_t seed = 1; seed <= SIM_SEEDS; seed++) {
		struct sim sim;

		sim_open(&sim, seed, conf);
		body(&sim);
		sim_close(&sim);
	}
}

uint64_t sim_below(struct sim *sim, uint64_t n)
{
	return (fake_random(sim->io) >> 11) % n;
}

/* ---- turns ---- */

static void check_queues(struct sim *sim)
{
	const uint32_t max = CONN_QUEUE_HIGH + IO_OVERSHOOT_MAX;
	const struct conn *conn;

	LIST_FOREACH(conn, &sim->conns.live, list) {
		sim_check(sim, conn->client.queued <= max);
		sim_check(sim, conn->upstream.queued <= max);
	}
	sim_check(sim, sim->io->pool.used_bytes <= sim->io->pool.budget_bytes);
}

void sim_turn(struct sim *sim, int64_t timeout_ns)
{
	int64_t next_ns = timer_next_ns(&sim->wheel, sim->io->now_ns);

	if (next_ns >= 0)
		timeout_ns = MIN(timeout_ns, next_ns);
	cr_assert_eq(fake_io_ops.turn(sim->io, timeout_ns), 0);
	timer_advance(&sim->wheel, sim->io->now_ns);
	check_queues(sim);
	sim_check_eq(sim, fake_buffers_lent(sim->io), 0);
	if (sim->io->now_ns < sim->tick_ns)
		return;
	sim->tick_ns = sim->io->now_ns + 100 * NS_PER_MS;
	conn_mgr_tick(&sim->conns);
	udp_mgr_tick(&sim->udp);
}

void sim_run(struct sim *sim, int64_t ns)
{
	int64_t until_ns = sim->io->now_ns + ns;

	while (sim->io->now_ns < until_ns)
		sim_turn(sim, MIN(until_ns - sim->io->now_ns, 10 * NS_PER_MS));
}

void sim_settle(struct sim *sim)
{
	for (int i = 0; i < SETTLE_TURNS; i++)
		sim_turn(sim, 0);
}

void sim_until_closed(struct sim *sim)
{
	int turns = 0;

	while (sim->conns.live_n) {
		sim_turn(sim, NS_PER_MS);
		sim_check(sim, turns++ < TURNS_MAX);
	}
}

/* ---- streams ---- */

static uint8_t pattern(uint32_t key, uint64_t at)
{
	uint64_t x = (at + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ key * UINT64_C(0xC2B2AE3D27D4EB4F);

	return (uint8_t)(x >> 29 ^ x >> 53);
}

static void end_init(struct end *end, struct fake_peer *peer, uint32_t key)
{
	*end = (struct end){.peer = peer, .key_out = key, .key_in = key};
}

struct conn *sim_accept(struct sim *sim, struct end *client)
{
	int fd;

	end_init(client, fake_pair(sim->io, &fd), 1 + (uint32_t)sim->stats.conns_accepted);
	if (!conn_reserve(&sim->limit)) {
		fake_fd_close(sim->io, fd);
		return NULL;
	}
	if (conn_open(&sim->conns, fd)) {
		conn_release(&sim->limit);
		fake_fd_close(sim->io, fd);
		return NULL;
	}
	return LIST_FIRST(&sim->conns.live);
}

bool sim_dialled(struct sim *sim, uint32_t target, struct end *upstream)
{
	struct fake_peer *peer = fake_dialled(sim->io, &sim->targets[target]);

	if (peer)
		end_init(upstream, peer, 0);
	return peer;
}

struct conn *sim_relay(struct sim *sim, struct end *client, struct end *upstream)
{
	struct conn *conn = sim_accept(sim, client);
	int turns = 0;

	sim_check(sim, conn);
	while (conn->state == CONN_CONNECTING) {
		sim_turn(sim, NS_PER_MS);
		sim_check(sim, turns++ < TURNS_MAX);
	}
	sim_check_eq(sim, conn->state, CONN_FLOWING);
	sim_check(sim, sim_dialled(sim, conn->target, upstream));
	upstream->key_in = client->key_out;
	upstream->key_out = client->key_in = client->key_out + 0x10000;
	return conn;
}

void end_write(struct sim *sim, struct end *end, uint64_t max)
{
	uint8_t bytes[READ_BYTES];

	while (!end->broken && max && end->wrote < end->goal) {
		uint64_t len = MIN(MIN(end->goal - end->wrote, max), sizeof(bytes));
		ssize_t n;

		for (uint64_t i = 0; i < len; i++)
			bytes[i] = pattern(end->key_out, end->wrote + i);
		n = fake_peer_write(end->peer, bytes, len);
		if (n == -EAGAIN)
			break;
		if (n < 0) {
			end->broken = true;
			break;
		}
		sim_check(sim, !end->shut);
		end->wrote += (uint64_t)n;
		max -= (uint64_t)n;
	}
	if (end->shuts && !end->shut && (end->broken || end->wrote == end->goal)) {
		fake_peer_shutdown(end->peer);
		end->shut = true;
	}
}

uint64_t end_read(struct sim *sim, struct end *end, uint64_t max)
{
	uint64_t got = 0;
	uint8_t bytes[READ_BYTES];

	while (end->state == END_OPEN && got < max) {
		ssize_t n = fake_peer_read(end->peer, bytes, MIN(max - got, sizeof(bytes)));

		if (n == -EAGAIN)
			break;
		if (n <= 0) {
			sim_check(sim, n == 0 || n == -ECONNRESET);
			end->state = n ? END_RESET : END_EOF;
			break;
		}
		for (ssize_t i = 0; i < n; i++)
			if (bytes[i] != pattern(end->key_in, end->got + (uint64_t)i))
				cr_assert(false, "seed %" PRIu64 ": wrong byte at %" PRIu64,
					  sim->seed, end->got + (uint64_t)i);
		end->got += (uint64_t)n;
		got += (uint64_t)n;
	}
	return got;
}

uint32_t sim_push(struct sim *sim, struct end *from, const struct conn_side *to)
{
	const struct stats *stats = &sim->stats;
	uint64_t moved = 0;
	uint32_t most = 0;
	int turns = 0;

	for (int quiet = 0; quiet < SETTLE_TURNS; quiet++) {
		end_write(sim, from, UINT64_MAX);
		sim_turn(sim, NS_PER_MS);
		most = to ? MAX(most, to->queued) : 0;
		if (moved != from->wrote + stats->bytes_in + stats->bytes_out)
			quiet = 0;
		moved = from->wrote + stats->bytes_in + stats->bytes_out;
		sim_check(sim, turns++ < TURNS_MAX);
	}
	return most;
}

static void exchange(struct sim *sim, struct end *const *ends, int n)
{
	for (int i = 0; i < n; i++) {
		end_write(sim, ends[i], UINT64_MAX);
		end_read(sim, ends[i], UINT64_MAX);
	}
	sim_turn(sim, NS_PER_MS);
}

void sim_until_got(struct sim *sim, struct end *const *ends, int n, struct end *end, uint64_t got)
{
	int turns = 0;

	while (end->got < got) {
		exchange(sim, ends, n);
		sim_check(sim, turns++ < TURNS_MAX);
	}
	sim_check_eq(sim, end->got, got);
}

void sim_until_over(struct sim *sim, struct end *const *ends, int n)
{
	int turns = 0, over = 0;

	while (over < n) {
		exchange(sim, ends, n);
		sim_check(sim, turns++ < TURNS_MAX);
		over = 0;
		for (int i = 0; i < n; i++)
			over += ends[i]->state != END_OPEN;
	}
}
