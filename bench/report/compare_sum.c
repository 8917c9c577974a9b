/* SPDX-License-Identifier: MIT */
/* What is made of a sweep's samples before they are judged: ratios to one server, and sums. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"

/* --- against one server ---------------------------------------------------------------------- */

static double at_round(const struct compare_metric *base, const struct compare_metric *metric,
		       size_t i)
{
	if (!base->rounds || !metric->rounds)
		return base->n == metric->n ? base->samples[i] : NAN;
	for (size_t k = 0; k < base->n; k++)
		if (base->rounds[k] == metric->rounds[i])
			return base->samples[k];
	return NAN;
}

/* What is left of the samples when each is divided: into room for them. */
static void divide(struct compare_metric *metric, const struct compare_metric *base, double *room)
{
	size_t kept = 0;

	for (size_t i = 0; base && i < metric->n; i++) {
		double under = at_round(base, metric, i);

		if (isfinite(under) && under > 0)
			room[kept++] = metric->samples[i] / under;
	}
	metric->n = kept;
}

int compare_against(struct compare_side *side, const char *server)
{
	double **rooms = calloc(side->n + 1, sizeof(*rooms));
	size_t left = 0;
	int r = rooms ? 0 : -ENOMEM;

	/* The base is divided, too, so that no sample may be replaced before the last is done. */
	for (size_t i = 0; i < side->n && !r; i++) {
		rooms[i] = calloc(side->metrics[i].n + 1, sizeof(**rooms));
		r = rooms[i] ? 0 : -ENOMEM;
	}
	for (size_t i = 0; i < side->n && !r; i++) {
		struct compare_metric key = side->metrics[i], *metric = &side->metrics[i], *base;

		key.server = server;
		base = bsearch(&key, side->metrics, side->n, sizeof(key), compare_keys);
		if (base == metric)
			continue;
		divide(metric, base, rooms[i]);
		left += metric->n > 0;
	}
	for (size_t i = 0; i < side->n && rooms; i++) {
		if (!r && strcmp(side->metrics[i].server, server)) {
			double *old = side->metrics[i].samples;

			side->metrics[i].samples = rooms[i];
			rooms[i] = old;
		} else if (!r) {
			side->metrics[i].n = 0;
		}
		free(rooms[i]);
	}
	free(rooms);
	return r < 0 ? r : left ? 0 : -ENOENT;
}

/* --- in sum ---------------------------------------------------------------------------------- */

static bool positive(const struct compare_metric *metric)
{
	for (size_t i = 0; i < metric->n; i++)
		if (!(metric->samples[i] > 0) || !isfinite(metric->samples[i]))
			return false;
	return metric->n > 0;
}

static bool same_rounds(const struct compare_metric *a, const struct compare_metric *b)
{
	if (a->n != b->n || !a->rounds != !b->rounds)
		return false;
	return !a->rounds || !memcmp(a->rounds, b->rounds, a->n * sizeof(*a->rounds));
}

static bool part_of_sum(const struct compare_metric *it, const struct compare_metric *key)
{
	return it->metric == key->metric && !strcmp(it->server, key->server) &&
	       strcmp(it->use, COMPARE_SUM) && strncmp(it->use, "latency", 7) && positive(it);
}

/* The one with most samples: those with others are of cells that some rounds left out. */
static const struct compare_metric *fullest(const struct compare_side *side,
					    const struct compare_metric *key)
{
	const struct compare_metric *best = NULL;

	for (size_t i = 0; i < side->n; i++)
		if (part_of_sum(&side->metrics[i], key) && (!best || side->metrics[i].n > best->n))
			best = &side->metrics[i];
	return best;
}

/* The geometric mean in each round over the cells that both sides have in all of their rounds. */
static int add_sum(const struct compare_side side[2], const struct compare_metric *key,
		   struct compare_side extra[2])
{
	const struct compare_metric *most[2] = {fullest(&side[0], key), fullest(&side[1], key)};
	struct compare_metric sum = {.use = COMPARE_SUM,
				     .cell = "",
				     .server = key->server,
				     .workers = 1,
				     .metric = key->metric};
	double *logs[2] = {calloc(COMPARE_SAMPLES_MAX, sizeof(double)),
			   calloc(COMPARE_SAMPLES_MAX, sizeof(double))};
	size_t n[2] = {most[0] ? most[0]->n : 0, most[1] ? most[1]->n : 0}, cells = 0;
	int r = logs[0] && logs[1] ? 0 : -ENOMEM;

	for (size_t i = 0; i < side[0].n && !r && most[0] && most[1]; i++) {
		const struct compare_metric *it = &side[0].metrics[i], *other;

		if (!part_of_sum(it, key) || !same_rounds(it, most[0]))
			continue;
		other = bsearch(it, side[1].metrics, side[1].n, sizeof(*it), compare_keys);
		if (!other || !positive(other) || !same_rounds(other, most[1]))
			continue;
		for (size_t k = 0; k < it->n; k++)
			logs[0][k] += log(it->samples[k]);
		for (size_t k = 0; k < other->n; k++)
			logs[1][k] += log(other->samples[k]);
		cells++;
	}
	for (int s = 0; s < 2 && cells > 1 && !r; s++) {
		struct compare_metric *added = compare_add(&extra[s], &sum, n[s]);

		for (size_t k = 0; k < n[s] && added; k++)
			added->samples[k] = exp(logs[s][k] / cells);
		r = added ? 0 : -ENOMEM;
	}
	free(logs[0]);
	free(logs[1]);
	return r;
}

static bool is_first(const struct compare_side *side, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (side->metrics[k].metric == side->metrics[i].metric &&
		    !strcmp(side->metrics[k].server, side->metrics[i].server))
			return false;
	return true;
}

/* Takes over the metrics of extra, which is empty afterwards. */
static int append(struct compare_side *side, struct compare_side *extra)
{
	struct compare_metric *grown;

	if (!extra->n)
		return 0;
	grown = reallocarray(side->metrics, side->n + extra->n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memcpy(grown + side->n, extra->metrics, extra->n * sizeof(*grown));
	side->metrics = grown;
	side->n += extra->n;
	side->capacity = side->n;
	extra->n = 0;
	qsort(side->metrics, side->n, sizeof(*side->metrics), compare_keys);
	return 0;
}

int compare_add_sums(struct compare_side side[2])
{
	struct compare_side extra[2] = {{.n = 0}};
	int r = 0;

	for (size_t i = 0; i < side[0].n && !r; i++)
		if (side[0].metrics[i].metric <= METRIC_BYTES && is_first(&side[0], i))
			r = add_sum(side, &side[0].metrics[i], extra);
	for (int s = 0; s < 2; s++) {
		if (!r)
			r = append(&side[s], &extra[s]);
		compare_side_free(&extra[s]);
	}
	return r;
}
