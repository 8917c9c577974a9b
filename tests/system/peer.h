/* SPDX-License-Identifier: MIT */
/*
 * peer: the other end of the system tests, a client or server that follows a script of actions. It
 * shares no code with what it tests. Every stream and datagram carries bytes that follow from a
 * seed and a position, so whoever receives them can tell that each is there, once, in order.
 */
#ifndef PEER_H
#define PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum peer_kind { PEER_TCP, PEER_UDP, PEER_UNIX };

enum { PEER_CHUNK = 65536, PEER_TEXT_MAX = 160 };

struct peer_addr {
	enum peer_kind kind;
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un un;
	};
};

struct peer_opt {
	uint64_t send_seed, recv_seed;
	size_t conns;     /* at the same time */
	size_t rounds;    /* one after the other; 0: for ever */
	int buffer_bytes; /* of the kernel, for each socket and direction; 0: its default */
	int seconds;      /* after so long the whole has failed */
	const char *from; /* address to bind before connecting, or NULL */
};

/* peer.c: ends with status 1 and a line that names the action under way. */
void peer_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void peer_fail_errno(const char *what) __attribute__((noreturn));
/* peer.c: what the line of peer_fail() names from now on. */
void peer_doing(const char *action, const char *argument);
/* peer.c: a whole number, or peer_fail(). */
uint64_t peer_number(const char *text);

/* peer_addr.c: tcp:HOST:PORT, udp:HOST:PORT or unix:/path with numeric hosts, or peer_fail(). */
struct peer_addr peer_addr_parse(const char *text);
const char *peer_addr_format(const struct peer_addr *addr, char out[PEER_TEXT_MAX]);
struct peer_addr peer_addr_local(int fd, enum peer_kind kind);
/* A socket of addr's kind, with opt's buffer sizes; bound to addr when bound is true. */
int peer_socket(const struct peer_addr *addr, const struct peer_opt *opt, bool bound);
/* Prints "listening ADDR" and "ready". */
void peer_announce(int fd, enum peer_kind kind);

/* peer_data.c: the bytes from position on, and whether data is what it should be. */
void peer_bytes(uint64_t seed, uint64_t position, uint8_t *out, size_t len);
bool peer_bytes_match(uint64_t seed, uint64_t position, const uint8_t *data, size_t len);
int peer_gen(int argc, char **argv, const struct peer_opt *opt);

/* peer_data.c: actions that streams and datagrams share. False: action is none of them. */
bool peer_act_common(const char *action, char **args, int *used);

/* The commands: argv begins behind the command's name. */
int peer_connect(int argc, char **argv, const struct peer_opt *opt);
int peer_listen(int argc, char **argv, const struct peer_opt *opt);
int peer_datagram(int argc, char **argv, const struct peer_opt *opt);
int peer_answer(int argc, char **argv, const struct peer_opt *opt);
int peer_raw(int argc, char **argv, const struct peer_opt *opt);
int peer_ping(int argc, char **argv, const struct peer_opt *opt);
int peer_tagged(int argc, char **argv, const struct peer_opt *opt);
int peer_occupy(int argc, char **argv, const struct peer_opt *opt);
int peer_refuse(int argc, char **argv, const struct peer_opt *opt);
int peer_full(int argc, char **argv, const struct peer_opt *opt);
int peer_without_io_uring(int argc, char **argv, const struct peer_opt *opt);

#endif
