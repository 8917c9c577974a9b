/* SPDX-License-Identifier: MIT */
/* Owns the server between its options and its summary. Everything is made before the first worker
 * starts, so that a wrong address or a port in use ends with one line and nothing half started. */
#include "serve.h"

#include <errno.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net.h"
#include "pipe.h"
#include "serve_cpu.h"
#include "util.h"
#include "worker.h"

enum {
	EXIT_USAGE = 2,
	DESCRIPTORS_KEPT =
		64, /* for what is not a connection: standard streams, backends, the resolver */
	DESCRIPTORS_PER_WORKER = 8,
	PIPES_SHARE = 64,            /* of all descriptors at most this part is for pipes */
	DESCRIPTORS_PER_FILTER = 64, /* links, programs, maps; twice while it is loaded */
	CONNS_MAX = 1 << 20,
	SOCKS_SPARE = 16, /* a handle is free only when its close has been handled */
	LOCAL_MAX = 256,
	BUFFER_BYTES_PER_WORKER = 64 << 20,
	BUFFER_BYTES_MIN = 1 << 20, /* for one worker */
};

struct serving {
	const struct opt *opt;
	const struct log *log;
	const struct serve_filter *filter; /* may be NULL */
	struct server server;
	struct worker *workers;
	struct addr targets[CONN_TARGETS_MAX], udp_targets[CONN_TARGETS_MAX], own[UDP_OWN_MAX];
	union addr_inet local[LOCAL_MAX];
	int (*fds)[WORKER_LISTENERS_MAX]; /* per worker */
	int64_t started_ns;
};

static int fail(const struct serving *s, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(const struct serving *s, int status, const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	log_write(s->log, LOG_ERROR, "%s", line);
	return status;
}

/* ---- addresses ---- */

static int resolve_failed(const struct serving *s, const char *option, const struct addr_spec *spec,
			  const char *why)
{
	static const char *const kinds[] = {
		[ADDR_TCP] = "tcp", [ADDR_UDP] = "udp", [ADDR_UNIX] = "unix"};

	return fail(s, EXIT_FAILURE, "%s %s:%s:%u: %s", option, kinds[spec->kind], spec->host,
		    spec->port, why);
}

static int resolve_targets(struct serving *s)
{
	const struct opt *opt = s->opt;
	uint32_t n = 0, n_udp = 0;

	for (int i = 0; i < opt->n_target; i++) {
		bool udp = opt->target[i].kind == ADDR_UDP;
		uint32_t *count = udp ? &n_udp : &n;
		struct addr *to = (udp ? s->udp_targets : s->targets) + *count;
		const char *why;
		int found =
			addr_resolve(&opt->target[i], to, (int)(CONN_TARGETS_MAX - *count), &why);

		if (found < 0)
			return resolve_failed(s, "-t", &opt->target[i], why);
		*count += (uint32_t)found;
		if (*count == CONN_TARGETS_MAX)
			break;
	}
	s->server.conn_conf.targets = s->targets;
	s->server.conn_conf.n_targets = n;
	s->server.udp_conf.targets = s->udp_targets;
	s->server.udp_conf.n_targets = n_udp;
	return 0;
}

static int resolve_listeners(struct serving *s)
{
	const struct opt *opt = s->opt;
	struct server *server = &s->server;

	for (int i = 0; i < opt->n_listen; i++) {
		int room = WORKER_LISTENERS_MAX - (int)server->n_listen;
		const char *why;
		int found;

		if (!room)
			return fail(s, EXIT_USAGE, "-l: more than %d addresses to listen on",
				    WORKER_LISTENERS_MAX);
		found = addr_resolve(&opt->listen[i], server->listen + server->n_listen, room,
				     &why);
		if (found < 0)
			return resolve_failed(s, "-l", &opt->listen[i], why);
		server->n_listen += (uint32_t)found;
	}
	return 0;
}

/* ---- limits ---- */

static uint64_t raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

static bool listens_on(const struct server *server, bool udp)
{
	for (uint32_t i = 0; i < server->n_listen; i++)
		if ((server->listen[i].kind == ADDR_UDP) == udp)
			return true;
	return false;
}

/* Shares the descriptors out among connections and sessions, or checks that what was asked for
 * fits. */
static int set_limits(struct serving *s)
{
	const struct opt *opt = s->opt;
	struct server *server = &s->server;
	uint64_t limit = raise_descriptor_limit();
	uint64_t pipes = MIN(limit / PIPES_SHARE / 2 / server->workers, (uint64_t)PIPES_MAX);
	uint64_t kept =
		DESCRIPTORS_KEPT + (uint64_t)opt->n_xdp * DESCRIPTORS_PER_FILTER +
		server->workers * (DESCRIPTORS_PER_WORKER + 2 * pipes + 2ull * server->n_listen);
	uint64_t each = opt->command == OPT_RELAY ? 2 : 1, left = limit > kept ? limit - kept : 0;
	uint64_t sessions = 0, conns = 0;

	if (opt->command == OPT_RELAY && listens_on(server, true))
		sessions = opt->max_sessions ? (uint64_t)opt->max_sessions
					     : left / (listens_on(server, false) ? 4 : 1);
	if (listens_on(server, false))
		conns = opt->max_conns ? (uint64_t)opt->max_conns
				       : (left > sessions ? (left - sessions) / each : 0);
	if (!opt->max_conns)
		conns = MIN(conns, (uint64_t)CONNS_MAX);
	if (!opt->max_sessions)
		sessions = MIN(sessions, (uint64_t)CONNS_MAX);
	if (conns * each + sessions > left || (!conns && listens_on(server, false)))
		return fail(
			s, EXIT_FAILURE,
			"--max-conns %llu and --max-sessions %llu need %llu descriptors, but the "
			"limit is %llu; "
			"raise it (ulimit -n) or ask for fewer",
			(unsigned long long)conns, (unsigned long long)sessions,
			(unsigned long long)(conns * each + sessions + kept),
			(unsigned long long)limit);
	server->conn_conf.conns_max = (uint32_t)conns;
	server->udp_conf.sessions_max = (uint32_t)sessions;
	server->io_conf.pipes_max = (uint32_t)pipes;
	atomic_store(&server->limit.left, (int64_t)conns);
	atomic_store(&server->session_limit.left, (int64_t)sessions);
	server->io_conf.socks_max =
		(uint32_t)(conns * each + sessions + server->n_listen + SOCKS_SPARE);
	server->io_conf.buffer_bytes = opt->buffer_memory ? opt->buffer_memory / server->workers
							  : BUFFER_BYTES_PER_WORKER;
	if (server->io_conf.buffer_bytes < BUFFER_BYTES_MIN)
		return fail(s, EXIT_USAGE, "--buffer-memory: %u workers need at least %uM together",
			    server->workers, server->workers * (BUFFER_BYTES_MIN >> 20));
	return 0;
}

/* ---- listening ---- */

/* One socket per worker on one address. The first decides the port. */
static int open_listener(struct serving *s, uint32_t index)
{
	struct server *server = &s->server;
	struct addr *addr = &server->listen[index];
	char text[ADDR_TEXT_MAX];

	for (uint32_t w = 0; w < server->workers; w++) {
		bool copy = addr->kind == ADDR_UNIX && w > 0;
		int fd = copy ? dup(s->fds[0][index])
			      : net_listen(addr, server->workers > 1, w == 0, (int)server->backlog);
		int err = copy && fd < 0 ? -errno : fd;

		if (err >= 0 && w == 0 && addr->kind != ADDR_UNIX)
			err = net_local_addr(fd, addr->kind, addr);
		if (err < 0)
			return fail(s, EXIT_FAILURE, "-l %s: %s%s", addr_format(addr, text),
				    strerror(-err), net_bind_remedy(err, addr->kind));
		s->fds[w][index] = fd;
	}
	return 0;
}

static void collect_local(struct serving *s)
{
	struct ifaddrs *list, *i;
	uint32_t n = 0;

	if (getifaddrs(&list))
		return;
	for (i = list; i && n < LOCAL_MAX; i = i->ifa_next) {
		if (!i->ifa_addr)
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
			memcpy(&s->local[n++].v4, i->ifa_addr, sizeof(struct sockaddr_in));
		else if (i->ifa_addr->sa_family == AF_INET6)
			memcpy(&s->local[n++].v6, i->ifa_addr, sizeof(struct sockaddr_in6));
	}
	freeifaddrs(list);
	s->server.udp_conf.local = s->local;
	s->server.udp_conf.n_local = n;
}

static int open_listeners(struct serving *s)
{
	struct server *server = &s->server;
	uint32_t n_own = 0;

	s->fds = calloc(server->workers, sizeof(*s->fds));
	if (!s->fds)
		return fail(s, EXIT_FAILURE, "out of memory");
	memset(s->fds, -1, server->workers * sizeof(*s->fds));
	for (uint32_t i = 0; i < server->n_listen; i++) {
		int status = open_listener(s, i);

		if (status)
			return status;
		if (server->listen[i].kind == ADDR_UDP)
			s->own[n_own++] = server->listen[i];
	}
	server->udp_conf.own = s->own;
	server->udp_conf.n_own = n_own;
	collect_local(s);
	return 0;
}

static int start_filter(struct serving *s)
{
	struct server *server = &s->server;
	struct udp_conf *conf = &server->udp_conf;
	union addr_inet listen[WORKER_LISTENERS_MAX], targets[CONN_TARGETS_MAX];
	struct serve_udp udp = {
		.listen = listen,
		.targets = targets,
		.n_targets = conf->n_targets,
		.sessions_max = conf->sessions_max,
	};
	int status;

	if (!s->filter)
		return 0;
	for (uint32_t i = 0; i < server->n_listen; i++)
		if (server->listen[i].kind == ADDR_UDP)
			listen[udp.n_listen++] = server->listen[i].inet;
	for (uint32_t i = 0; i < conf->n_targets; i++)
		targets[i] = conf->targets[i].inet;
	status = s->filter->start(s->filter->ctx, &udp);
	if (!status)
		conf->fast = s->filter->fast(s->filter->ctx);
	return status;
}

static void close_listeners(struct serving *s)
{
	for (uint32_t i = 0; i < s->server.n_listen; i++)
		if (s->server.listen[i].kind == ADDR_UNIX && s->fds && s->fds[0][i] >= 0)
			unlink(s->server.listen[i].un.sun_path);
	free(s->fds);
}

/* ---- workers ---- */

static int start_workers(struct serving *s)
{
	struct server *server = &s->server;
	sem_t started;
	int err;

	s->workers = aligned_alloc(64, server->workers * sizeof(*s->workers));
	if (!s->workers)
		return fail(s, EXIT_FAILURE, "out of memory");
	memset(s->workers, 0, server->workers * sizeof(*s->workers));
	sem_init(&started, 0, 0);
	for (uint32_t i = 0; i < server->workers; i++) {
		struct worker *worker = &s->workers[i];

		worker->server = server;
		worker->limit = &server->limit;
		worker->session_limit = &server->session_limit;
		worker->index = i;
		worker->cpu = s->opt->n_cpus ? serve_cpu_nth(&s->opt->cpus, i) : -1;
		worker->fds = s->fds[i];
		worker->started = &started;
		err = worker_start(worker);
		if (err)
			return fail(s, EXIT_FAILURE,
				    "worker %u: %s; raise ulimit -u or ask for fewer (-w)", i,
				    strerror(-err));
		while (sem_wait(&started) && errno == EINTR)
			;
		if (worker->err)
			return fail(s, EXIT_FAILURE,
				    "worker %u cannot start its %s backend: %s; lower --max-conns, "
				    "--buffer-memory or "
				    "-w, or raise ulimit -n",
				    i, server->ops->name, strerror(-worker->err));
	}
	sem_destroy(&started);
	return 0;
}

static void print_counters(struct serving *s, bool summary)
{
	struct stats sum = {0};
	char text[8192];
	double seconds = (double)(util_now_ns() - s->started_ns) / (double)NS_PER_S;

	for (uint32_t i = 0; i < s->server.workers; i++)
		stats_sum(&sum, &s->workers[i].stats);
	if (summary)
		stats_format_summary(&sum, seconds, text, sizeof(text));
	else
		stats_format(&sum, text, sizeof(text));
	fputs(text, stdout);
	if (s->filter)
		s->filter->print(s->filter->ctx, summary);
	fflush(stdout);
}

static void print_listeners(const struct serving *s)
{
	char text[ADDR_TEXT_MAX];

	for (uint32_t i = 0; i < s->server.n_listen; i++) {
		const struct addr *addr = &s->server.listen[i];

		printf("listening %s backend=%s workers=%u", addr_format(addr, text),
		       s->server.ops->name, s->server.workers);
		if (s->filter && addr->kind == ADDR_UDP)
			printf(" fast-path=%s", s->filter->fast_path(s->filter->ctx, &addr->inet));
		printf("\n");
	}
	if (s->filter)
		s->filter->announce(s->filter->ctx);
	printf("ready\n");
	fflush(stdout);
}

/* The signals that this thread waits for; blocked in every thread. */
static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static bool all_ended(const struct serving *s)
{
	for (uint32_t i = 0; i < s->server.workers; i++)
		if (!atomic_load_explicit(&s->workers[i].ended, memory_order_acquire))
			return false;
	return true;
}

/* The next signal, or 0 when it is time for a tick. */
static int wait_signal(const struct serving *s, const sigset_t *signals)
{
	const struct timespec tick = {.tv_nsec = SERVE_TICK_NS};
	int signo;

	if (!s->filter || !s->filter->tick(s->filter->ctx))
		return sigwaitinfo(signals, NULL);
	signo = sigtimedwait(signals, NULL, &tick);
	return signo < 0 ? 0 : signo;
}

/* Until all workers have ended. Returns the exit status. */
static int run(struct serving *s, const sigset_t *signals)
{
	bool stopping = false;
	int status = EXIT_SUCCESS;

	while (!all_ended(s)) {
		int signo = wait_signal(s, signals);

		if (signo == SIGUSR1) {
			for (uint32_t i = 0; i < s->server.workers; i++)
				worker_settle(&s->workers[i]);
			print_counters(s, false);
			continue;
		}
		if (signo != SIGINT && signo != SIGTERM && signo != SIGUSR2)
			continue;
		/* SIGUSR2: a worker has ended. Asked to, it is counted above; by itself, the others
		 * follow. */
		if (signo == SIGUSR2 && stopping)
			continue;
		if (stopping) {
			log_write(s->log, LOG_WARN, "second signal: not waiting for connections");
			_exit(EXIT_FAILURE);
		}
		stopping = true;
		if (s->filter)
			s->filter->drain(s->filter->ctx);
		for (uint32_t i = 0; i < s->server.workers; i++)
			worker_stop(&s->workers[i]);
	}
	for (uint32_t i = 0; i < s->server.workers; i++) {
		worker_join(&s->workers[i]);
		if (s->workers[i].err)
			status = fail(s, EXIT_FAILURE, "worker %u: the %s backend failed: %s", i,
				      s->server.ops->name, strerror(-s->workers[i].err));
	}
	return status;
}

static void configure(struct serving *s, const struct opt *opt, const struct io_ops *ops)
{
	static const enum conn_mode modes[] = {
		[OPT_ECHO] = CONN_ECHO, [OPT_DISCARD] = CONN_DISCARD, [OPT_RELAY] = CONN_RELAY};
	struct server *server = &s->server;
	int64_t idle_ns = opt->idle_timeout_ns;

	server->ops = ops;
	server->log = s->log;
	server->workers = serve_workers_wanted(opt);
	server->backlog = (uint32_t)opt->backlog;
	server->drain_timeout_ns = opt->drain_timeout_ns;
	server->main_thread = pthread_self();
	server->conn_conf.mode = server->udp_conf.mode = modes[opt->command];
	server->conn_conf.connect_timeout_ns = opt->connect_timeout_ns;
	server->conn_conf.idle_timeout_ns = MAX(idle_ns, 0);
	server->udp_conf.idle_timeout_ns = idle_ns > 0 ? idle_ns : UDP_IDLE_DEFAULT_S * NS_PER_S;
	if (getrandom(&server->hash_seed, sizeof(server->hash_seed), 0) < 0)
		server->hash_seed = (uint64_t)util_now_ns();
}

int serve(const struct opt *opt, const struct io_ops *ops, const struct log *log,
	  const struct serve_filter *filter)
{
	struct serving s = {.opt = opt, .log = log, .filter = filter, .started_ns = util_now_ns()};
	sigset_t signals;
	int status;

	block_signals(&signals);
	configure(&s, opt, ops);
	status = resolve_targets(&s);
	if (!status)
		status = resolve_listeners(&s);
	if (!status)
		status = set_limits(&s);
	if (!status)
		status = open_listeners(&s);
	if (!status)
		status = start_filter(&s);
	if (!status)
		status = start_workers(&s);
	if (!status) {
		print_listeners(&s);
		status = run(&s, &signals);
		print_counters(&s, true);
		free(s.workers);
	}
	/* Workers that had started when a later one failed still run: they end with the process. */
	close_listeners(&s);
	return status;
}
