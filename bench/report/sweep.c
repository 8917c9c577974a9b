/* SPDX-License-Identifier: MIT */
/* Reads a sweep, whatever the file holds. Owns the rows and their samples. */
#include "sweep.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int refuse(struct sweep_error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int refuse(struct sweep_error *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return -EINVAL;
}

bool sweep_name_ok(const char *name)
{
	static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789 _.+-/:@=%";
	size_t len = strlen(name);

	return len && len < SWEEP_NAME_MAX && strspn(name, more) == len && *name != ' ';
}

bool sweep_is_peer(const char *server)
{
	return strncmp(server, "floor_", 6) && strncmp(server, "sluice_", 7) &&
	       strcmp(server, "sluice");
}

bool sweep_is_tuned(const char *server)
{
	static const char suffix[] = "_64k";
	size_t len = strlen(server);

	return len >= sizeof(suffix) && !strcmp(server + len - (sizeof(suffix) - 1), suffix);
}

/* --- one record ------------------------------------------------------------------------------ */

struct record {
	struct sweep_row key; /* samples unused */
	uint32_t round;
	const json_t *run; /* NULL when it failed */
	const char *why;
};

static int read_name(const json_t *json, const char *member, char ret_name[SWEEP_NAME_MAX],
		     struct sweep_error *error)
{
	const char *name = json_string_value(json_object_get(json, member));

	if (!name || !sweep_name_ok(name))
		return refuse(error,
			      "%s wants a name of 1 to %d letters, digits, spaces and _.+-/:@=%%",
			      member, SWEEP_NAME_MAX - 1);
	memcpy(ret_name, name, strlen(name) + 1);
	return 0;
}

static int read_count(const json_t *json, const char *member, int64_t min, int64_t max,
		      int64_t *ret_count, struct sweep_error *error)
{
	const json_t *count = json_object_get(json, member);

	if (!json_is_integer(count) || json_integer_value(count) < min ||
	    json_integer_value(count) > max)
		return refuse(error, "%s wants a whole number from %lld to %lld", member,
			      (long long)min, (long long)max);
	*ret_count = json_integer_value(count);
	return 0;
}

static uint32_t hash_key(const struct sweep_row *key)
{
	const char *names[] = {key->use, key->cell, key->server};
	uint32_t hash = 2166136261u + key->workers;

	for (size_t i = 0; i < 3; i++)
		for (const char *c = names[i]; *c; c++)
			hash = (hash ^ (uint8_t)*c) * 16777619u;
	return hash;
}

static int read_record(const json_t *json, struct record *ret, struct sweep_error *error)
{
	int64_t round, connections, size, workers;
	const json_t *run = json_object_get(json, "run");
	int r = read_count(json, "round", 0, SWEEP_ROUND_MAX, &round, error);

	if (!r)
		r = read_name(json, "use", ret->key.use, error);
	if (!r)
		r = read_name(json, "cell", ret->key.cell, error);
	if (!r)
		r = read_name(json, "server", ret->key.server, error);
	if (!r)
		r = read_count(json, "connections", 0, 100000000, &connections, error);
	if (!r)
		r = read_count(json, "size", 0, INT64_C(1) << 40, &size, error);
	if (!r)
		r = read_count(json, "workers", 0, 100000, &workers, error);
	if (r < 0)
		return r;
	if (!json_is_object(run) && !json_is_null(run))
		return refuse(error, "run wants an object, or null for one that failed");
	ret->round = round;
	ret->key.connections = connections;
	ret->key.size = size;
	ret->key.workers = workers;
	ret->key.hash = hash_key(&ret->key);
	ret->run = json_is_object(run) ? run : NULL;
	ret->why = json_string_value(json_object_get(json, "failed"));
	return 0;
}

/* --- rows ------------------------------------------------------------------------------------ */

static bool same_key(const struct sweep_row *a, const struct sweep_row *b)
{
	return a->hash == b->hash && a->workers == b->workers && !strcmp(a->server, b->server) &&
	       !strcmp(a->cell, b->cell) && !strcmp(a->use, b->use);
}

/* Makes room for one more of n elements. 0 or -ENOMEM. */
static int grow(void **array, size_t n, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity * 2 : 8;
	void *grown;

	if (n < *capacity)
		return 0;
	grown = reallocarray(*array, wanted, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*capacity = wanted;
	return 0;
}

/* sluice before the floors before the peers, and each of them by name; io_uring goes first. */
static int server_rank(const char *server)
{
	static const char *const first[] = {"sluice_io_uring", "sluice_epoll", "floor_uring",
					    "floor_epoll"};
	int rank = 0;

	while (rank < 4 && strcmp(first[rank], server))
		rank++;
	if (rank == 4 && !strncmp(server, "sluice", 6))
		return 1;
	return rank;
}

static int compare_servers(const void *a, const void *b)
{
	int order = server_rank(a) - server_rank(b);

	return order ? order : strcmp(a, b);
}

static int remember_server(struct sweep *sweep, const char *server, struct sweep_error *error)
{
	for (size_t i = 0; i < sweep->n_servers; i++)
		if (!strcmp(sweep->servers[i], server))
			return 0;
	if (sweep->n_servers == SWEEP_SERVERS_MAX)
		return refuse(error, "more than %d servers in one sweep", SWEEP_SERVERS_MAX);
	strcpy(sweep->servers[sweep->n_servers++], server);
	return 0;
}

static int find_row(struct sweep *sweep, const struct sweep_row *key, struct sweep_row **ret_row,
		    struct sweep_error *error)
{
	int r;

	for (size_t i = 0; i < sweep->n; i++) {
		if (!same_key(&sweep->rows[i], key))
			continue;
		*ret_row = &sweep->rows[i];
		if ((*ret_row)->connections != key->connections || (*ret_row)->size != key->size)
			return refuse(error,
				      "cell %s has other connections or another size than "
				      "on a line before",
				      key->cell);
		return 0;
	}
	if (sweep->n == SWEEP_ROWS_MAX)
		return refuse(error, "more than %d different use, cell, server and workers",
			      SWEEP_ROWS_MAX);
	r = remember_server(sweep, key->server, error);
	if (!r)
		r = grow((void **)&sweep->rows, sweep->n, &sweep->capacity, sizeof(*sweep->rows));
	if (r < 0)
		return r;
	*ret_row = &sweep->rows[sweep->n++];
	**ret_row = *key;
	(*ret_row)->rate_per_s = NAN;
	return 0;
}

static int add_run(struct sweep *sweep, struct sweep_row *row, const struct record *record,
		   struct sweep_error *error)
{
	struct sweep_sample sample = {.line = error->line, .round = record->round};
	char why[METRIC_ERROR_MAX];
	struct metric_run run;
	int r = metric_run_read(record->run, &run, why);

	if (r < 0)
		return refuse(error, "run: %s", why);
	if (run.interrupted) {
		sweep->interrupted++;
		return 0;
	}
	r = grow((void **)&row->samples, row->n, &row->capacity, sizeof(*row->samples));
	if (r < 0)
		return r;
	sample.limited = run.limited;
	sample.errors = run.errors > 0;
	memcpy(sample.value, run.value, sizeof(sample.value));
	row->samples[row->n++] = sample;
	row->rate_per_s = run.rate_per_s;
	row->by_bytes = run.by_bytes;
	return 0;
}

static int add_record(struct sweep *sweep, const json_t *json, struct sweep_error *error)
{
	struct record record = {.round = 0};
	struct sweep_row *row = NULL;
	int r = read_record(json, &record, error);

	if (!r)
		r = find_row(sweep, &record.key, &row, error);
	if (r < 0)
		return r;
	sweep->runs++;
	if (record.run)
		return add_run(sweep, row, &record, error);
	sweep->failed++;
	row->failed++;
	snprintf(row->why, sizeof(row->why), "%s", record.why ? record.why : "no reason given");
	return 0;
}

/* --- lines ----------------------------------------------------------------------------------- */

/* 1 and a line without its end, 0 at the end of the file, or a negative error. */
static int read_line(FILE *file, char *buffer, size_t *ret_len, bool *ret_ended,
		     struct sweep_error *error)
{
	size_t len = 0;
	int c;

	while ((c = getc_unlocked(file)) != EOF && c != '\n') {
		if (len == SWEEP_LINE_MAX)
			return refuse(error, "longer than %d bytes: not a run", SWEEP_LINE_MAX);
		buffer[len++] = c;
	}
	if (ferror(file)) {
		int r = -errno;

		error->line = 0;
		refuse(error, "%s", strerror(-r));
		return r;
	}
	*ret_len = len;
	*ret_ended = c == '\n';
	return len || *ret_ended;
}

static int take_env(struct sweep *sweep, const json_t *json, struct sweep_error *error)
{
	json_t *env = json_object_get(json, "env");

	if (sweep->env)
		return refuse(error, "a second env: these are the runs of two sweeps");
	if (!json_is_object(env))
		return refuse(error, "the first line wants an object with a member env");
	sweep->env = json_incref(env);
	return 0;
}

static int take_line(struct sweep *sweep, const char *text, size_t len, bool ended,
		     struct sweep_error *error)
{
	json_error_t why;
	json_t *json;
	int r;

	if (strspn(text, " \t\r") == len)
		return 0;
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!json && !ended && sweep->env) {
		sweep->cut_line = error->line;
		return 0;
	}
	if (!json)
		return refuse(error, "not JSON: column %d: %.200s", why.column, why.text);
	if (!sweep->env || json_object_get(json, "env"))
		r = take_env(sweep, json, error);
	else
		r = add_record(sweep, json, error);
	json_decref(json);
	return r;
}

static int compare_rounds(const void *a, const void *b)
{
	const struct sweep_sample *x = a, *y = b;

	if (x->round != y->round)
		return x->round > y->round ? 1 : -1;
	return (x->line > y->line) - (x->line < y->line);
}

/* Brings the samples in order; of a round that was run again the later one counts. */
static uint32_t order_samples(struct sweep *sweep, struct sweep_row *row)
{
	size_t kept = 0;

	if (row->n)
		qsort(row->samples, row->n, sizeof(*row->samples), compare_rounds);
	for (size_t i = 0; i < row->n; i++) {
		if (kept && row->samples[kept - 1].round == row->samples[i].round) {
			row->samples[kept - 1] = row->samples[i];
			sweep->repeated++;
		} else {
			row->samples[kept++] = row->samples[i];
		}
	}
	row->n = kept;
	for (size_t i = 0; i < kept; i++) {
		sweep->limited += row->samples[i].limited;
		sweep->with_errors += row->samples[i].errors;
	}
	return kept;
}

static int finish(struct sweep *sweep, struct sweep_error *error)
{
	error->line = 0;
	if (!sweep->env)
		return refuse(error, "empty: the first line should hold env, see bench/README.md");
	if (!sweep->runs)
		return refuse(error, "holds no run");
	for (size_t i = 0; i < sweep->n; i++) {
		uint32_t rounds = order_samples(sweep, &sweep->rows[i]);

		if (rounds > sweep->rounds)
			sweep->rounds = rounds;
	}
	qsort(sweep->servers, sweep->n_servers, sizeof(*sweep->servers), compare_servers);
	return 0;
}

int sweep_read(FILE *file, struct sweep *ret_sweep, struct sweep_error *ret_error)
{
	struct sweep sweep = {.n = 0};
	char *buffer = malloc(SWEEP_LINE_MAX + 1);
	bool ended = false;
	size_t len = 0;
	int r = buffer ? 0 : -ENOMEM;

	*ret_error = (struct sweep_error){.line = 0};
	while (!r) {
		ret_error->line++;
		r = read_line(file, buffer, &len, &ended, ret_error);
		if (r <= 0)
			break;
		buffer[len] = '\0';
		r = take_line(&sweep, buffer, len, ended, ret_error);
	}
	free(buffer);
	if (!r)
		r = finish(&sweep, ret_error);
	if (r < 0) {
		if (r == -ENOMEM)
			refuse(ret_error, "%s", strerror(ENOMEM));
		sweep_free(&sweep);
		return r;
	}
	*ret_sweep = sweep;
	return 0;
}

void sweep_free(struct sweep *sweep)
{
	for (size_t i = 0; i < sweep->n; i++)
		free(sweep->rows[i].samples);
	free(sweep->rows);
	json_decref(sweep->env);
	*sweep = (struct sweep){.n = 0};
}
