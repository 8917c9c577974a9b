/* SPDX-License-Identifier: MIT */
/*
 * Makes the plots' files and runs gnuplot. Colours are those of M. Okabe and K. Ito, which people
 * who see colours differently can tell apart: warm for sluice, grey for floors, cold for peers.
 */
#include "plot.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "use.h"

static const struct {
	const char *name, *caption;
	unsigned width; /* in pixels */
} plots[PLOT_COUNT] = {
	[PLOT_COST] = {"cost", "Server CPU per message, lower is better", 1400},
	[PLOT_SPEED] = {"throughput", "Messages per second, higher is better", 1400},
	[PLOT_SCALE] = {"scale", "Server CPU per message over connections, lower is better", 1200},
	[PLOT_LATENCY] = {"latency", "Latency at a given rate, lower is better", 1400},
};

const char *plot_name(enum plot plot)
{
	return plots[plot].name;
}

const char *plot_caption(enum plot plot)
{
	return plots[plot].caption;
}

struct plot_style plot_style(const struct sweep *sweep, size_t server)
{
	static const struct {
		const char *name;
		struct plot_style style;
	} known[] = {
		{"sluice_io_uring", {"#D55E00", 7, false}}, {"sluice_epoll", {"#E69F00", 5, false}},
		{"floor_uring", {"#4D4D4D", 6, true}},      {"floor_epoll", {"#A6A6A6", 4, true}},
		{"haproxy", {"#0072B2", 9, false}},         {"nginx", {"#009E73", 11, false}},
		{"haproxy_64k", {"#56B4E9", 8, false}},     {"nginx_64k", {"#7FD1B9", 10, false}},
		{"socat", {"#CC79A7", 13, false}},
	};
	static const struct plot_style others[] = {
		{"#7F6FB0", 14, false},
		{"#F0E442", 15, false},
		{"#000000", 12, false},
	};
	const char *name = sweep->servers[server];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(known[i].name, name))
			return known[i].style;
	/* Others take theirs in turn, the same ones in every plot of a sweep. */
	for (size_t i = 0; i < server; i++)
		n += sweep_is_peer(sweep->servers[i]);
	return others[n % (sizeof(others) / sizeof(*others))];
}

void plot_script_begin(FILE *script, enum plot plot, unsigned height)
{
	const char *name = plots[plot].name;
	unsigned width = plots[plot].width;

	fprintf(script,
		"# Run in this folder: gnuplot %s.gp\n"
		"set encoding utf8\n"
		"do for [kind = 1:2] {\n"
		"reset\n"
		"if (kind == 1) {\n"
		"set terminal svg size %u,%u noenhanced font 'DejaVu Sans,13' background 'white'\n"
		"set output '%s.svg'\n"
		"} else {\n"
		"set terminal pngcairo size %u,%u noenhanced font 'DejaVu Sans,10.5'\n"
		"set output '%s.png'\n"
		"}\n",
		name, width, height, name, width, height, name);
}

void plot_script_end(FILE *script)
{
	fputs("unset output\n}\n", script);
}

void plot_legend(FILE *script, const struct sweep *sweep, const bool *shown, double height)
{
	/* In parts of the page's width: a box, a gap, and about that much for each letter. */
	static const double box = 0.014, gap = 0.006, letter = 0.0062, apart = 0.022;
	double width = -apart, at;

	for (size_t i = 0; i < sweep->n_servers; i++)
		if (shown[i])
			width += box + gap + letter * strlen(sweep->servers[i]) + apart;
	at = width < 0.98 ? 0.5 - width / 2 : 0.01;
	for (size_t i = 0; i < sweep->n_servers; i++) {
		if (!shown[i])
			continue;
		fprintf(script,
			"set object %zu rectangle from screen %.4f,%.4f to screen %.4f,%.4f front "
			"fillcolor rgb '%s' fillstyle solid noborder\n"
			"set label %zu '%s' at screen %.4f,%.4f left front\n",
			i + 1, at, height - 0.010, at + box, height + 0.010,
			plot_style(sweep, i).colour, i + 1, sweep->servers[i], at + box + gap,
			height);
		at += box + gap + letter * strlen(sweep->servers[i]) + apart;
	}
}

/* --- files ----------------------------------------------------------------------------------- */

static int open_file(const char *dir, const char *name, const char *end, FILE **ret_file)
{
	char *path;
	int r = 0;

	if (asprintf(&path, "%s/%s%s", dir, name, end) < 0)
		return -ENOMEM;
	*ret_file = fopen(path, "we");
	if (!*ret_file) {
		r = -errno;
		fprintf(stderr, "sluice-bench report: %s: %s\n", path, strerror(-r));
	}
	free(path);
	return r;
}

static int close_file(const char *dir, const char *name, FILE *file)
{
	bool failed = ferror(file);

	errno = 0;
	if (fclose(file) == 0 && !failed)
		return 0;
	failed = errno;
	fprintf(stderr, "sluice-bench report: a file of %s/%s: %s\n", dir, name,
		failed ? strerror(errno) : "writing failed");
	return -EIO;
}

static int write_plot(FILE *data, FILE *script, const struct sweep *sweep, enum plot plot)
{
	int r;

	if (plot == PLOT_SCALE)
		r = plot_scale(data, script, sweep);
	else if (plot == PLOT_LATENCY)
		r = plot_latency(data, script, sweep);
	else
		r = plot_bars(data, script, sweep, plot);
	plot_script_end(script);
	return r;
}

static void remove_old(const char *dir, const char *name)
{
	static const char *const ends[] = {".dat", ".gp", ".svg", ".png"};
	char *path;

	for (size_t i = 0; i < 4; i++) {
		if (asprintf(&path, "%s/%s%s", dir, name, ends[i]) < 0)
			continue;
		unlink(path);
		free(path);
	}
}

/* 1 when the plot's files are written, 0 when there was nothing to draw, or -errno. */
static int write_files(const char *dir, const struct sweep *sweep, enum plot plot)
{
	const char *name = plots[plot].name;
	FILE *data, *script;
	int drawn, r;

	/* What an earlier report left there must not pass for this one's. */
	remove_old(dir, name);
	r = open_file(dir, name, ".dat", &data);
	if (r < 0)
		return r;
	r = open_file(dir, name, ".gp", &script);
	if (r < 0) {
		fclose(data);
		return r;
	}
	drawn = write_plot(data, script, sweep, plot);
	r = close_file(dir, name, script);
	if (close_file(dir, name, data) < 0)
		r = -EIO;
	if (drawn == 0)
		remove_old(dir, name);
	return r < 0 ? r : drawn;
}

/* --- gnuplot --------------------------------------------------------------------------------- */

extern char **environ;

/* The child's exit status, or -errno: -ENOENT when there is no such program. */
static int run_gnuplot(const char *dir, const char *script)
{
	char *argv[] = {"gnuplot", (char *)script, NULL};
	posix_spawn_file_actions_t actions;
	int r, status;
	pid_t pid;

	r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!r)
		r = posix_spawn_file_actions_addchdir_np(&actions, dir);
	if (!r)
		r = posix_spawnp(&pid, "gnuplot", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void draw(const char *dir, enum plot plot, struct plots *ret_plots)
{
	char script[32];
	int r;

	snprintf(script, sizeof(script), "%s.gp", plots[plot].name);
	r = run_gnuplot(dir, script);
	ret_plots->drawn[plot] = r == 0;
	ret_plots->no_gnuplot = r == -ENOENT || r == 127;
	if (ret_plots->no_gnuplot)
		fprintf(stderr, "sluice-bench report: no plots, because gnuplot is not installed: "
				"run `make bench-deps`\n");
	else if (r < 0)
		fprintf(stderr, "sluice-bench report: gnuplot: %s\n", strerror(-r));
	else if (r)
		fprintf(stderr, "sluice-bench report: gnuplot %s/%s ended with status %d\n", dir,
			script, r);
}

int plots_write(const char *dir, const struct sweep *sweep, struct plots *ret_plots)
{
	*ret_plots = (struct plots){.no_gnuplot = false};
	for (enum plot plot = 0; plot < PLOT_COUNT; plot++) {
		int r = write_files(dir, sweep, plot);

		if (r < 0)
			return r;
		ret_plots->written[plot] = r > 0;
		if (r > 0 && !ret_plots->no_gnuplot)
			draw(dir, plot, ret_plots);
	}
	return 0;
}
