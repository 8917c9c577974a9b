/* SPDX-License-Identifier: MIT */
/*
 * The contract of core/io.h as tests that run over every backend. A test sees a rig (one opened
 * backend), ends (what an owner of sockets would be) and peers (the other ends of them), and not
 * which backend it is.
 *
 * An end checks at every event all that the contract says about events: that none comes from inside
 * a starter or from inside another event, after IO_CLOSE, after a close that cut it off, after an
 * end of stream, beyond the overshoot of recv_stop or the budget of a turn, with bytes out of
 * order, or with more bytes sent than queued.
 *
 * A test waits for conditions, never for time: until() takes turns until its condition holds or the
 * limit has passed.
 */
#ifndef SLUICE_TESTS_CONTRACT_H
#define SLUICE_TESTS_CONTRACT_H

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/io.h"
#include "core/util.h"

/* How much longer things may take. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RIG_SLOWER = 5 };
#else
enum { RIG_SLOWER = 1 };
#endif

enum {
	RIG_LIMIT_S = 10, /* for one test; longer under a sanitizer */
	RIG_WAIT_NS = 2 * 1000 * 1000,
	RIG_LOG_MAX = 24,
	RIG_VARIANTS_MAX = 40,
	RIG_BUFFER_BYTES = 16 << 20,
	RIG_SOCKS = 512,
	DGRAM_MAX = 65507, /* bytes */
};

enum net { NET_TCP4, NET_TCP6, NET_UNIX };

struct rig;

struct rig_conf {
	uint32_t socks_max;
	uint64_t buffer_bytes;
};

/* The other end of a stream. rig_step reads and writes for it. */
struct peer {
	struct rig *rig;
	int fd;
	struct fake_peer *fake;
	uint32_t seed;
	uint64_t written, write_to; /* bytes so far, and wanted */
	uint64_t read, read_to;
	uint32_t write_max; /* bytes at a time; 0: as many as fit */
	bool shut_after;    /* shut down when write_to is reached */
	bool shut, eof, gone;
	bool unread;        /* rig_step leaves it alone */
	bool unchecked;     /* what it reads follows no pattern */
	int err, write_err; /* what ended reading: -ECONNRESET; or writing: -EPIPE as well */
	struct peer *next;
};

/* A host that datagrams go to and come from. */
struct host {
	struct rig *rig;
	int fd;
	struct fake_host *fake;
	union addr_inet addr;
	struct host *next;
};

enum end_mode { END_DISCARD, END_HOLD, END_ECHO, END_MANUAL };

/* The owner of one socket. */
struct end {
	struct io_handler handler;
	struct rig *rig;
	struct io_sock *sock; /* NULL once closed */
	enum io_kind kind;
	enum end_mode mode;
	uint32_t seed;
	/* Called after the checks and what mode says. With END_MANUAL the buffer is its to give
	 * back. */
	void (*on_event)(struct end *end, const struct io_event *event);
	void *ctx;

	uint64_t received, queued, sent; /* stream bytes */
	bool connecting, accepting, accept_one;
	bool receiving, started; /* recv_start is in force; was ever called */
	uint64_t overshoot;      /* bytes received since recv_stop */
	bool shut, eof, closing, closed;
	enum io_close how;
	int recv_err, send_err, close_res, connect_res, accept_err;
	uint32_t n_recv, n_send, n_accept, n_connect, n_icmp;
	uint64_t turn; /* of the last receive */
	uint32_t turn_bytes, turn_bufs;
	bool unchecked;              /* its bytes follow no pattern */
	struct end *move_to, *mover; /* as the owner knows it */
	uint64_t moved, moved_turn;  /* bytes to it; the turn of the last of them */
	uint32_t moved_bytes;        /* in that turn */
	uint32_t n_refused;          /* IO_MOVE -ENOBUFS */
	struct buf *held, **held_tail;
	uint32_t n_held;
	int fds[256]; /* accepted and not yet attached */
	uint32_t n_fds;
	struct end *next;
};

struct rig_note {
	const struct end *end;
	int op, res;
	uint64_t turn;
};

struct rig {
	char name[64]; /* of the backend and of what is switched off */
	const struct world *world;
	const struct io_ops *ops;
	uint32_t features_off;
	struct rig_conf conf;
	struct io *io;
	struct stats stats;
	bool in_turn, in_handler, starting;
	bool leave_open; /* free() shall close what is open */
	bool dgrams;     /* some datagram socket was open */
	uint64_t turns, events;
	int64_t deadline_ns;
	uint32_t fds_before;
	uint32_t seed_next;
	struct end *ends;
	struct peer *peers;
	struct host *hosts;
	struct rig_note log[RIG_LOG_MAX];
	uint32_t log_n;
	void *world_data;
	uint64_t random, seed;
};

/* Sizes of socket buffers; 0 leaves what the system gives. */
struct link_conf {
	enum net net;
	int end_send, end_recv, peer_send, peer_recv;
};

/* How a test makes sockets of one world, and moves their other ends. Nothing here blocks; errors
 * are -errno. */
struct world {
	void (*init)(struct rig *rig);
	void (*free)(struct rig *rig);
	uint32_t (*fds)(struct rig *rig);
	void (*fd_close)(struct rig *rig, int fd);
	/* No more descriptors can be had from now on, or again. */
	void (*fds_limit)(struct rig *rig, bool limit);

	/* A connected stream: its descriptor for attach, and the other end in *peer. */
	int (*pair)(struct rig *rig, const struct link_conf *conf, struct peer *peer);
	int (*listen)(struct rig *rig, enum net net, int backlog, struct addr *ret_addr);
	/* False when the backlog is full. */
	bool (*connect)(struct rig *rig, const struct addr *addr, struct peer *peer);
	/* An address that dial reaches; remote_accept fills in the other end, or says false. */
	void (*remote)(struct rig *rig, enum net net, struct addr *ret_addr);
	bool (*remote_accept)(struct rig *rig, const struct addr *addr, struct peer *peer);
	/* Addresses that refuse and that never answer. */
	void (*refusing)(struct rig *rig, enum net net, struct addr *ret_addr);
	void (*silent)(struct rig *rig, struct addr *ret_addr);

	ssize_t (*write)(struct peer *peer, const void *data, size_t len);
	ssize_t (*read)(struct peer *peer, void *out, size_t size);
	void (*shutdown)(struct peer *peer);
	void (*reset)(struct peer *peer);
	void (*close)(struct peer *peer);

	/* Makes a network where what is sent to *ret_addr fills the socket's send buffer. False
	 * where that needs a privilege. Before any socket is made. */
	bool (*clog)(struct rig *rig, union addr_inet *ret_addr);
	/* A bound descriptor; *addr gets its port. */
	int (*dgram)(struct rig *rig, union addr_inet *addr);
	/* Binds host->addr; its port is filled in when it is 0. */
	int (*host_open)(struct host *host);
	void (*host_close)(struct host *host);
	int (*host_send)(struct host *host, const union addr_inet *to, const void *data, size_t n);
	ssize_t (*host_recv)(struct host *host, void *out, size_t size, union addr_inet *from);
};

extern const struct world world_real, world_fake;

/* ---- running ---- */

void rig_run(uint32_t variant, void (*test)(struct rig *), const struct rig_conf *conf);
/* Indexes of the variants with io_uring features off. */
struct criterion_test_params rig_features_off(void);

enum { VARIANT_FAKE, VARIANT_EPOLL, VARIANT_URING, VARIANT_FEATURES_OFF };

/* CONTRACT(name, .socks_max = 16) { ... } is one test that runs over every backend; its argument
 * is rig. */
#define CONTRACT(name, ...)                                                   \
	static void contract_##name(struct rig *rig);                         \
	static const struct rig_conf conf_##name = {__VA_ARGS__};             \
	Test(fake, name, .timeout = 120)                                      \
	{                                                                     \
		rig_run(VARIANT_FAKE, contract_##name, &conf_##name);         \
	}                                                                     \
	Test(epoll, name, .timeout = 120)                                     \
	{                                                                     \
		rig_run(VARIANT_EPOLL, contract_##name, &conf_##name);        \
	}                                                                     \
	Test(uring, name, .timeout = 120)                                     \
	{                                                                     \
		rig_run(VARIANT_URING, contract_##name, &conf_##name);        \
	}                                                                     \
	ParameterizedTestParameters(uring_off, name)                          \
	{                                                                     \
		return rig_features_off();                                    \
	}                                                                     \
	ParameterizedTest(uint32_t *variant, uring_off, name, .timeout = 120) \
	{                                                                     \
		rig_run(*variant, contract_##name, &conf_##name);             \
	}                                                                     \
	static void contract_##name(struct rig *rig)

/* Writes what happened last to standard error. Returns the text of a failure. */
const char *rig_failed(const struct rig *rig, const char *cond, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define check(cond, ...)                                                               \
	do {                                                                           \
		if (!(cond))                                                           \
			cr_assert_fail("%s", rig_failed(rig, #cond, " " __VA_ARGS__)); \
	} while (0)

/* Takes turns until cond holds. */
#define until(cond)                                                       \
	do {                                                              \
		while (!(cond)) {                                         \
			check(!rig_is_late(rig), "did not come to hold"); \
			rig_step(rig);                                    \
		}                                                         \
	} while (0)

/* Skips the test and says why; with STRICT=1 that is a failure. */
void rig_skip(const struct rig *rig, const char *why);
bool rig_is_late(const struct rig *rig);
/* Lets the peers read and write, and takes a turn. */
void rig_step(struct rig *rig);
void rig_steps(struct rig *rig, uint32_t n);
/* Takes one turn. */
void rig_turn(struct rig *rig, int64_t timeout_ns);
/* Takes turns until nothing has happened for a while. */
void rig_settle(struct rig *rig);
/* Checks that turns wait while nothing happens: that nothing spins. */
void rig_check_quiet(struct rig *rig);
uint64_t rig_random(struct rig *rig, uint64_t n);
/* Closes every end that is open and waits for the last events. */
void rig_close_all(struct rig *rig);
/* True for the fake backend, whose time is not ours. */
bool rig_is_fake(const struct rig *rig);

/* ---- ends ---- */

struct end *end_new(struct rig *rig);
/* False when the backend has no slot left. */
bool end_attach(struct end *end, int fd, enum io_kind kind);
bool end_dial(struct end *end, const struct addr *addr);
/* A connected stream with its end attached, not yet receiving. */
struct end *end_pair(struct rig *rig, const struct link_conf *conf, struct peer **ret_peer);
void end_accept_start(struct end *end, bool many);
void end_accept_stop(struct end *end);
void end_recv_start(struct end *end);
void end_recv_stop(struct end *end);
void end_move_start(struct end *from, struct end *to);
void end_move_stop(struct end *from);
void end_send(struct end *end, struct buf *chain);
/* Sends bytes of the end's pattern, cut into buffers of at most piece bytes, as one chain. */
void end_send_bytes(struct end *end, uint64_t bytes, uint32_t piece);
void end_shutdown(struct end *end);
void end_close(struct end *end, enum io_close how);
void end_recycle(struct end *end, struct buf *chain);
/* Gives back what END_HOLD kept. */
void end_release(struct end *end);

/* ---- peers and hosts ---- */

/* Not connected yet. */
struct peer *peer_new(struct rig *rig);
/* Connects to a listener; false when it does not answer. */
bool peer_connect(struct peer *peer, const struct addr *addr);
/* Takes what was dialled to addr, if there is anything yet. */
bool peer_accept(struct peer *peer, const struct addr *addr);
/* Reads and writes what can be; true when any byte moved. */
bool peer_pump(struct peer *peer);
void peer_shutdown(struct peer *peer);
void peer_reset(struct peer *peer);
void peer_close(struct peer *peer);
/* True when no more bytes can come. */
static inline bool peer_ended(const struct peer *peer)
{
	return peer->eof || peer->err || peer->gone;
}

struct host *host_new(struct rig *rig, const union addr_inet *addr);
void host_send(struct host *host, const union addr_inet *to, const void *data, size_t n);
/* Takes turns until a datagram has come; its bytes. */
size_t host_take(struct host *host, void *out, size_t size, union addr_inet *ret_from);
/* A datagram socket bound to *addr, whose port is filled in. */
struct end *end_dgram(struct rig *rig, union addr_inet *addr);
/* A buffer with len bytes of a pattern, to peer (may be NULL). */
struct buf *dgram_buf(struct rig *rig, uint32_t seed, uint32_t len, const union addr_inet *peer);
/* The same bytes from a host, and to it. */
void host_send_pattern(struct host *host, const union addr_inet *to, uint32_t seed, size_t len);
void host_check_taken(struct host *host, uint32_t seed, size_t len, union addr_inet *ret_from);
union addr_inet addr_v4(uint32_t host, uint16_t port);
union addr_inet addr_v6(const struct in6_addr *host, uint16_t port);

/* Byte at of the stream that seed stands for. */
static inline uint8_t pattern_byte(uint32_t seed, uint64_t at)
{
	return (uint8_t)(((at + ((uint64_t)seed << 40)) * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

void pattern_fill(uint32_t seed, uint64_t at, void *out, size_t n);
/* Bytes that are as they should be. */
size_t pattern_match(uint32_t seed, uint64_t at, const void *data, size_t n);

#endif
