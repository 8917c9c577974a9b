/* SPDX-License-Identifier: MIT */
/* A whole run over datagrams, against a service that does to them whatever a network may do. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/client/opts.h"
#include "bench/client/run.h"

enum { SIZE = 100 };

/* What happens to every tenth datagram, from the fourth, sixth, eighth or tenth on. */
enum { DUPLICATED = 3, CHANGED = 5, OVERTAKEN = 7, DROPPED = 9 };

struct service {
	int fd;
	unsigned spoils; /* which of the above, one bit each */
};

static void *serve(void *arg)
{
	const struct service *s = arg;
	char data[SIZE + 1], held[SIZE];
	struct sockaddr_in from;
	ssize_t n, n_held = 0;

	for (unsigned i = 0;; i++) {
		socklen_t len = sizeof(from);
		unsigned fate = s->spoils >> i % 10 & 1 ? i % 10 : 0;

		n = recvfrom(s->fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len);
		if (n != SIZE)
			return NULL;
		if (fate == OVERTAKEN) {
			memcpy(held, data, SIZE);
			n_held = n;
			continue;
		}
		if (fate == CHANGED)
			data[SIZE - 1] ^= 1;
		if (fate != DROPPED)
			sendto(s->fd, data, SIZE, 0, (struct sockaddr *)&from, len);
		if (fate == DUPLICATED)
			sendto(s->fd, data, SIZE, 0, (struct sockaddr *)&from, len);
		if (n_held)
			sendto(s->fd, held, SIZE, 0, (struct sockaddr *)&from, len);
		n_held = 0;
	}
}

/* Runs against the service: the exit status, and what was written as JSON. */
static int run(struct service *s, json_t **ret_json)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char target[32], json[] = "/tmp/sluice-bench-XXXXXX", error[BENCH_ERROR_TEXT];
	/* What is lost keeps its place until then; nothing else may be late on a busy machine. */
	char *timeout = s->spoils & (1 << CHANGED | 1 << DROPPED) ? "20ms" : "20s";
	char *argv[] = {"sluice-bench", "udp",    target, "-s",      "100", "-d", "8",
			"-t",           "500ms",  "-w",   "0",       "-c",  "1",  "--timeout",
			timeout,        "--json", json,   "--verify"};
	struct bench_opts opts;
	socklen_t len = sizeof(at);
	pthread_t thread;
	int fd = mkstemp(json), status;

	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(s->fd, (struct sockaddr *)&at, len), 0);
	cr_assert_eq(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
	snprintf(target, sizeof(target), "127.0.0.1:%u", ntohs(at.sin_port));
	cr_assert_eq(pthread_create(&thread, NULL, serve, s), 0);
	cr_assert_eq(bench_opts_parse(sizeof(argv) / sizeof(argv[0]), argv, &opts, error),
		     BENCH_OPTS_RUN, "%s", error);
	cr_redirect_stdout();
	status = bench_run(&opts);
	bench_opts_free(&opts);
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(s->fd);
	*ret_json = json_load_file(json, 0, NULL);
	unlink(json);
	close(fd);
	cr_assert_not_null(*ret_json);
	return status;
}

static json_int_t of(const json_t *json, const char *name)
{
	const json_t *value = json_object_get(json_object_get(json, "udp"), name);

	cr_assert(json_is_integer(value), "%s", name);
	return json_integer_value(value);
}

static void runs(unsigned spoils, const char *what, int status)
{
	static const char *const kinds[] = {"duplicates", "corrupt", "reordered"};
	struct service s = {.spoils = spoils};
	json_t *json;

	cr_expect_eq(run(&s, &json), status);
	cr_expect_gt(json_integer_value(json_object_get(json, "messages")), 100);
	cr_expect_eq(of(json, "sent"), of(json, "received") + of(json, "lost"));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (what && !strcmp(what, kinds[i]))
			cr_expect_gt(of(json, kinds[i]), 0, "no %s", what);
		else
			cr_expect_eq(of(json, kinds[i]), 0, "%s", kinds[i]);
	}
	if (spoils == 1 << DROPPED || spoils == 1 << CHANGED)
		cr_expect_gt(of(json, "lost"), 0);
	else /* the last one of all has none that overtakes it */
		cr_expect_leq(of(json, "lost"), spoils == 1 << OVERTAKEN);
	cr_expect_eq(json_integer_value(json_object_get(json, "errors_total")),
		     of(json, "corrupt"));
	json_decref(json);
}

TestSuite(bench_dgram, .timeout = 60);

Test(bench_dgram, nothing_happens)
{
	runs(0, NULL, 0);
}

Test(bench_dgram, duplicates)
{
	runs(1 << DUPLICATED, "duplicates", 0);
}

Test(bench_dgram, changed)
{
	runs(1 << CHANGED, "corrupt", 1);
}

Test(bench_dgram, overtaken)
{
	runs(1 << OVERTAKEN, "reordered", 0);
}

Test(bench_dgram, dropped)
{
	runs(1 << DROPPED, NULL, 0);
}
