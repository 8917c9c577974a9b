/* SPDX-License-Identifier: MIT */
/*
 * The connection manager and the UDP manager over the fake backend, with time as a number: what a
 * worker's loop does, one turn at a time. Each test runs with several seeds; the seed is printed
 * when one fails, by a check here or by an assertion anywhere.
 */
#ifndef SLUICE_TESTS_SIM_H
#define SLUICE_TESTS_SIM_H

#include <criterion/criterion.h>
#include <inttypes.h>

#include "core/conn.h"
#include "core/udp.h"
#include "core/util.h"
#include "fake_io.h"

/* Of seeds, a part suffices where everything takes ten times as long. */
#if defined(__SANITIZE_THREAD__)
#define SIM_PART 8
#elif defined(__SANITIZE_ADDRESS__)
#define SIM_PART 3
#else
#define SIM_PART 1
#endif

enum { SIM_TARGETS = 4, SIM_SEEDS = 16 / SIM_PART, SIM_UDP_PORT = 5000, SIM_TARGET_PORT = 9000 };

/* What is 0 gets a default. */
struct sim_conf {
	enum conn_mode mode;
	uint32_t n_targets, conns_max, socks_max, sessions_max;
	int64_t idle_ns, connect_ns;
	uint64_t buffer_bytes;
	bool plain; /* no chance in how the backend behaves */
};

struct sim {
	uint64_t seed;
	struct io *io;
	struct stats stats;
	struct timer_wheel wheel;
	struct addr targets[SIM_TARGETS];
	struct conn_conf conf;
	struct conn_limit limit;
	struct conn_mgr conns;
	struct udp_conf udp_conf;
	struct conn_limit udp_limit;
	struct udp_mgr udp;
	int64_t tick_ns; /* when the next is due */
};

#define sim_check(sim, cond) cr_assert((cond), "seed %" PRIu64 ": " #cond, (sim)->seed)
#define sim_check_eq(sim, a, b)                                                         \
	cr_assert_eq((a), (b), "seed %" PRIu64 ": " #a " is %" PRId64 ", not %" PRId64, \
		     (sim)->seed, (int64_t)(a), (int64_t)(b))

void sim_open(struct sim *sim, uint64_t seed, const struct sim_conf *conf);
/* Checks that nothing is left: connections, sessions, timers, buffers, descriptors. */
void sim_close(struct sim *sim);

/* Runs body once with each seed. */
void sim_seeds(const struct sim_conf *conf, void (*body)(struct sim *sim));

#define SIM_TEST(suite, name, ...)                                          \
	static void suite##_##name(struct sim *sim);                        \
	Test(suite, name)                                                   \
	{                                                                   \
		sim_seeds(&(struct sim_conf){__VA_ARGS__}, suite##_##name); \
	}                                                                   \
	static void suite##_##name(struct sim *sim)

/* 0 to n - 1. */
uint64_t sim_below(struct sim *sim, uint64_t n);

/* One turn of the worker's loop. */
void sim_turn(struct sim *sim, int64_t timeout_ns);
/* Turns until ns have passed. */
void sim_run(struct sim *sim, int64_t ns);
/* Turns while there can be something to do without time passing. */
void sim_settle(struct sim *sim);

/* ---- streams ---- */

enum end_state { END_OPEN, END_EOF, END_RESET };

/* What is at the other end of a stream: it writes a pattern that depends on its key and on the
 * position, and checks what it reads against another. */
struct end {
	struct fake_peer *peer;
	uint32_t key_out, key_in;
	uint64_t goal; /* to be written */
	uint64_t wrote, got;
	bool shuts; /* when goal is reached */
	bool shut, broken;
	enum end_state state;
};

/* Accepts a connection; *client is its other end. Returns it, or NULL. */
struct conn *sim_accept(struct sim *sim, struct end *client);
/* Accepts a connection and waits until the upstream is reached. */
struct conn *sim_relay(struct sim *sim, struct end *client, struct end *upstream);
/* Takes the end of the next connection dialled to target; false: there is none. */
bool sim_dialled(struct sim *sim, uint32_t target, struct end *upstream);

/* Writes towards goal what fits, at most max; shuts down when told to. */
void end_write(struct sim *sim, struct end *end, uint64_t max);
/* Reads and checks what is there, at most max. Returns how much. */
uint64_t end_read(struct sim *sim, struct end *end, uint64_t max);

/* Turns and writes until nothing moves any more. Returns the most that was queued towards to, which
 * may be NULL. */
uint32_t sim_push(struct sim *sim, struct end *from, const struct conn_side *to);
/* Turns, writes and reads until end has got so many bytes. */
void sim_until_got(struct sim *sim, struct end *const *ends, int n, struct end *end, uint64_t got);
/* Turns, writes and reads until every end has met its end or a reset. */
void sim_until_over(struct sim *sim, struct end *const *ends, int n);
/* Turns until no connection lives. */
void sim_until_closed(struct sim *sim);

/* ---- datagrams ---- */

/* a.b.c.d in host order. */
union addr_inet sim_v4(uint32_t host, uint16_t port);
union addr_inet sim_v6(const char *host, uint16_t port);

#endif
