/* SPDX-License-Identifier: MIT */
/*
 * UDP relaying for crowds: thousands of sessions, colliding keys, and random clients that come and
 * go with loss. An answer that arrives is the asker's own, from the address that was asked.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim.h"

enum {
	CLIENTS = 200,
	ASKED_N = 2,
	ASKED = 0xc0000201,
	CLIENT = 0x0a000000,
	CROWD = 3000 / SIM_PART
};

struct message {
	uint32_t client, asked, count;
};

struct crowd {
	struct udp_listener listener;
	struct fake_host *target, *clients[CROWD];
	uint64_t answered;
};

static union addr_inet asked_addr(uint32_t asked)
{
	return sim_v4(ASKED + asked, SIM_UDP_PORT);
}

static struct crowd *crowd_open(struct sim *sim, uint32_t n)
{
	const union addr_inet any = sim_v4(INADDR_ANY, SIM_UDP_PORT);
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	cr_assert(crowd);
	crowd->target = fake_host_open(sim->io, &sim->targets[0].inet);
	sim_check_eq(sim,
		     udp_listen(&sim->udp, &crowd->listener, 0, fake_dgram_bind(sim->io, &any)), 0);
	for (uint32_t i = 0; i < n; i++) {
		const union addr_inet addr = sim_v4(CLIENT + i / 7, (uint16_t)(1000 + i % 7));

		crowd->clients[i] = fake_host_open(sim->io, &addr);
	}
	return crowd;
}

static void crowd_close(struct sim *sim, struct crowd *crowd)
{
	udp_mgr_cut(&sim->udp);
	sim_settle(sim);
	sim->io->ops->close(sim->io, crowd->listener.sock, IO_CLOSE_NOW);
	sim_settle(sim);
	free(crowd);
}

static void ask(struct crowd *crowd, uint32_t client, uint32_t asked, uint32_t count)
{
	const struct message message = {.client = client, .asked = asked, .count = count};
	const union addr_inet to = asked_addr(asked);

	fake_host_send(crowd->clients[client], &to, &message, sizeof(message));
}

/* The upstream answers whatever it got. */
static void answer_all(struct crowd *crowd)
{
	struct message message;
	union addr_inet from;

	while (fake_host_recv(crowd->target, &message, sizeof(message), &from) >= 0)
		/* The backend sends from nowhere when it had no descriptor. */
		if (from.sa.sa_family)
			fake_host_send(crowd->target, &from, &message, sizeof(message));
}

static void read_all(struct sim *sim, struct crowd *crowd, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct message message;
		union addr_inet from, at;

		while (fake_host_recv(crowd->clients[i], &message, sizeof(message), &from) >= 0) {
			at = asked_addr(message.asked);
			sim_check_eq(sim, message.client, i);
			sim_check(sim, addr_inet_equal(&from, &at));
			crowd->answered++;
		}
	}
}

static void crowd_rounds(uint32_t buckets)
{
	const struct sim_conf conf = {
		.mode = CONN_RELAY,
		.sessions_max = CROWD,
		.idle_ns = 10 * NS_PER_S,
		.plain = true,
	};
	struct crowd *crowd;
	struct sim sim;

	sim_open(&sim, 1, &conf);
	if (buckets)
		sim.udp.buckets_n = buckets;
	crowd = crowd_open(&sim, CROWD);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < CROWD; i++)
			ask(crowd, i, 0, round);
		for (int i = 0; i < 2 * CROWD / 100; i++)
			sim_turn(&sim, 0);
		sim_check_eq(&sim, sim.udp.live_n, CROWD);
		answer_all(crowd);
		for (int i = 0; i < 2 * CROWD / 100; i++)
			sim_turn(&sim, 0);
		read_all(&sim, crowd, CROWD);
		sim_check_eq(&sim, crowd->answered, (uint64_t)CROWD * (round + 1));
		if (round < 2)
			continue;
		/* All expire at about the same time. */
		sim_run(&sim, 11 * NS_PER_S);
		sim_check_eq(&sim, sim.udp.live_n, 0);
	}
	sim_check_eq(&sim, sim.stats.sessions_opened, CROWD);
	sim_check_eq(&sim, stats_drops(&sim.stats), 0);
	crowd_close(&sim, crowd);
	sim_close(&sim);
}

Test(udp_sim, thousands_of_sessions)
{
	crowd_rounds(0);
}

/* As if somebody had found keys that collide. */
Test(udp_sim, all_keys_collide)
{
	crowd_rounds(1);
}

/* ---- clients that come and go ---- */

SIM_TEST(udp_sim, random_clients, .mode = CONN_RELAY, .sessions_max = 60, .idle_ns = 40 * NS_PER_MS)
{
	struct fake_conf *fake = fake_conf(sim->io);
	struct crowd *crowd = crowd_open(sim, CLIENTS);
	const struct stats *stats = &sim->stats;
	uint64_t asks = 0;

	fake->loss_percent = (uint8_t)(sim_below(sim, 2) * 20);
	fake->send_full_percent = (uint8_t)(sim_below(sim, 2) * 20);
	for (uint32_t step = 0; step < 2000; step++) {
		uint64_t n = sim_below(sim, 8);

		for (uint64_t i = 0; i < n; i++)
			ask(crowd, (uint32_t)sim_below(sim, 1 + sim_below(sim, CLIENTS)),
			    (uint32_t)sim_below(sim, ASKED_N), step);
		asks += n;
		if (sim_below(sim, 20) == 0)
			fake->buffers_gone = sim_below(sim, 3) == 0;
		fake_fds_gone(sim->io, sim_below(sim, 10) ? 0 : -EMFILE);
		sim_turn(sim, (int64_t)sim_below(sim, 5) * NS_PER_MS);
		answer_all(crowd);
		if (sim_below(sim, 2))
			read_all(sim, crowd, CLIENTS);
		sim_check(sim, sim->udp.live_n <= 60);
		sim_check_eq(sim, sim->udp_limit.left + sim->udp.live_n, 60);
	}
	fake->buffers_gone = false;
	fake_fds_gone(sim->io, 0);
	sim_run(sim, NS_PER_S);
	read_all(sim, crowd, CLIENTS);
	sim_check_eq(sim, sim->udp.live_n, 0);
	sim_check(sim, crowd->answered > 0 && crowd->answered <= asks);
	sim_check(sim, stats->drop_session_limit > 0 && stats->drop_session_failed > 0);
	/* What came in went out, or was counted as lost, or met the end of a session. */
	sim_check(sim, stats->dgrams_out + stats_drops(stats) <=
			       stats->dgrams_in + stats->drop_session_failed);
	crowd_close(sim, crowd);
}
