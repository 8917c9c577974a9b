/* SPDX-License-Identifier: MIT */
/* The data and the script of each plot. Names need no quoting: see sweep_name_ok(). */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "plot.h"
#include "use.h"

static size_t server_index(const struct sweep *sweep, const char *name)
{
	size_t i = 0;

	while (strcmp(sweep->servers[i], name))
		i++;
	return i;
}

/* Where a panel stands on the page, in parts of it. */
struct frame {
	double left, right, bottom, top;
};

static void print_frame(FILE *script, struct frame frame)
{
	fprintf(script,
		"set lmargin at screen %.4f\nset rmargin at screen %.4f\n"
		"set bmargin at screen %.4f\nset tmargin at screen %.4f\n",
		frame.left, frame.right, frame.bottom, frame.top);
}

static void print_head(FILE *script, const char *title, const char *below)
{
	fprintf(script,
		"set multiplot\n"
		"set label 101 '%s' at screen 0.5,0.965 center font ',17'\n"
		"set label 102 '%s' at screen 0.5,0.925 center textcolor rgb '#555555'\n",
		title, below);
}

/* What was placed on the page belongs to the first panel only. */
static void end_panel(FILE *script)
{
	fputs("unset label\nunset object\n", script);
}

/* --- bars ------------------------------------------------------------------------------------ */

/*
 * One panel: the bars of a cell on a scale of its own, for a message of 64 KiB costs twenty times
 * one of 64 bytes, and what is compared is the servers. How many bars there are.
 */
static unsigned bars_data(FILE *data, const struct grid *grid, size_t line, enum metric metric,
			  bool *shown, double *ret_top)
{
	const struct metric_kind *kind = metric_kind(metric);
	unsigned at = 0;

	*ret_top = 0;
	for (size_t s = 0; s < grid->n_servers; s++) {
		struct stat_summary value = grid_value(grid, line, s, metric);
		size_t server = server_index(grid->sweep, grid->servers[s]);
		double shown_value = value.median / kind->divisor;

		if (!value.n)
			continue;
		fprintf(data, "%u %zu %.6g %.6g %.6g ", ++at, server + 1, shown_value,
			value.min / kind->divisor, value.max / kind->divisor);
		fprintf(data,
			shown_value < 10    ? "%.2f\n"
			: shown_value < 100 ? "%.1f\n"
					    : "%.0f\n",
			shown_value);
		shown[server] = true;
		*ret_top = fmax(*ret_top, value.max / kind->divisor);
	}
	if (at)
		fputs("\n\n", data);
	return at;
}

struct bars {
	FILE *data, *script;
	enum plot plot;
	enum metric metric;
	unsigned index; /* of the next block of data */
	bool shown[SWEEP_SERVERS_MAX];
};

/* n bars, as broad as if there were `most`: in the middle of the frame. */
static void bars_panel(struct bars *bars, const struct grid *grid, size_t line, unsigned n,
		       unsigned most, double top, struct frame frame)
{
	char label[USE_LABEL_MAX];
	double space = (most - n) / 2.0 + 0.2;
	unsigned index = bars->index++;
	FILE *script = bars->script;

	use_label(grid, line, label);
	print_frame(script, frame);
	fprintf(script,
		"set title '%s' offset 0,-0.4\n"
		"set yrange [0:%.6g]\nset xrange [%.2f:%.2f]\n"
		"plot '%s.dat' index %u using 1:3:(0.82):2 with boxes linecolor variable "
		"fillstyle solid noborder notitle, \\\n"
		"'' index %u using 1:4:(0):($5 - $4) with vectors nohead linewidth 1.6 "
		"linecolor rgb '#222222' notitle, \\\n"
		"'' index %u using 1:($5 + %.6g):6 with labels rotate by 90 left notitle\n",
		label, top * 1.28, 0.5 - space, 0.5 + n + space, plot_name(bars->plot), index,
		index, index, top * 0.03);
	end_panel(script);
}

static unsigned bars_most(const struct grid *grid, enum metric metric)
{
	unsigned most = 0;

	for (size_t i = 0; i < grid->n_lines; i++) {
		unsigned n = 0;

		for (size_t s = 0; s < grid->n_servers; s++)
			n += grid_value(grid, i, s, metric).n > 0;
		most = n > most ? n : most;
	}
	return most;
}

/* A row of panels between two heights of the page. */
static void bars_row(struct bars *bars, const struct grid *grid, double bottom, double top)
{
	size_t panels = grid->n_lines < PLOT_PANELS_MAX ? grid->n_lines : PLOT_PANELS_MAX;
	unsigned most = bars_most(grid, bars->metric);
	double width = 0.945 / panels, highest;

	fprintf(bars->script,
		"set label 103 '%s' at screen 0.018,%.4f rotate by 90 center font ',14'\n",
		use_kind(grid->use).title, (bottom + top) / 2);
	for (size_t i = 0; i < panels; i++) {
		double left = 0.045 + i * width;
		struct frame frame = {left, left + width * 0.92, bottom, top};
		unsigned n = bars_data(bars->data, grid, i, bars->metric, bars->shown, &highest);

		if (n)
			bars_panel(bars, grid, i, n, most, highest > 0 ? highest : 1, frame);
	}
}

/* The two main uses; of a sweep without them, the first two it has. */
static size_t bars_uses(const struct sweep *sweep, const char *ret_uses[2])
{
	const char *uses[USES_MAX];
	size_t n = use_list(sweep, uses, USES_MAX), main_uses = 0;

	for (size_t i = 0; i < n && main_uses < 2; i++)
		if (!strcmp(uses[i], "relay") || !strcmp(uses[i], "echo"))
			ret_uses[main_uses++] = uses[i];
	for (size_t i = 0; i < n && i < 2 && !main_uses; i++)
		ret_uses[i] = uses[i];
	return main_uses ? main_uses : n < 2 ? n : 2;
}

static int bars_rows(struct bars *bars, const struct sweep *sweep, const char **uses, size_t n)
{
	double bottom = 0.085, height = (0.86 - bottom) / n;

	for (size_t i = 0; i < n; i++) {
		double top = 0.86 - i * height;
		struct grid grid;
		int r = grid_init(&grid, sweep, uses[i]);

		if (r < 0)
			return r;
		bars_row(bars, &grid, top - height + 0.015, top - 0.03);
		grid_free(&grid);
	}
	return 0;
}

int plot_bars(FILE *data, FILE *script, const struct sweep *sweep, enum plot plot)
{
	struct bars bars = {
		.data = data,
		.script = script,
		.plot = plot,
		.metric = plot == PLOT_COST ? METRIC_CPU_MESSAGE : METRIC_MESSAGES,
	};
	const char *uses[2];
	char below[160];
	int r;

	plot_script_begin(script, plot, 820);
	for (size_t i = 0; i < sweep->n_servers; i++)
		fprintf(script, "set linetype %zu linecolor rgb '%s'\n", i + 1,
			plot_style(sweep, i).colour);
	snprintf(below, sizeof(below),
		 "connections × bytes; medians and extremes of %u round%s; each panel has its own "
		 "scale",
		 sweep->rounds, sweep->rounds == 1 ? "" : "s");
	print_head(script,
		   plot == PLOT_COST ? "Server CPU per message in µs (lower is better)"
				     : "Thousand messages per second (higher is better)",
		   below);
	fputs("set border 1 linecolor rgb '#888888'\nunset xtics\nunset ytics\n", script);
	r = bars_rows(&bars, sweep, uses, bars_uses(sweep, uses));
	if (r < 0)
		return r;
	/* An empty panel carries the legend, now that it is known who is in it. */
	plot_legend(script, sweep, bars.shown, 0.04);
	fputs("unset border\nunset title\nset yrange [0:1]\nset xrange [0:1]\n"
	      "plot NaN notitle\nunset multiplot\n",
	      script);
	return bars.index > 0;
}

/* --- cost over connections ------------------------------------------------------------------- */

static void print_line_style(FILE *script, const struct sweep *sweep, size_t server)
{
	struct plot_style style = plot_style(sweep, server);

	fprintf(script, "linecolor rgb '%s' pointtype %d pointsize 1.1 linewidth 2.2 dashtype %d",
		style.colour, style.mark, style.dashed ? 2 : 1);
}

/* The points of one server, of those lines that have the first one's size and workers. */
static unsigned scale_data(FILE *data, const struct grid *grid, size_t server)
{
	const struct metric_kind *kind = metric_kind(METRIC_CPU_MESSAGE);
	unsigned points = 0;

	for (size_t i = 0; i < grid->n_lines; i++) {
		const struct grid_line *line = &grid->lines[i];
		struct stat_summary value = grid_value(grid, i, server, METRIC_CPU_MESSAGE);

		if (!value.n || !line->connections || line->size != grid->lines[0].size ||
		    line->workers != grid->lines[0].workers)
			continue;
		fprintf(data, "%llu %.6g %.6g %.6g\n", (unsigned long long)line->connections,
			value.median / kind->divisor, value.min / kind->divisor,
			value.max / kind->divisor);
		points++;
	}
	if (points)
		fputs("\n\n", data);
	return points;
}

int plot_scale(FILE *data, FILE *script, const struct sweep *sweep)
{
	unsigned index = 0;
	struct grid grid;
	int r = grid_init(&grid, sweep, "scale");

	if (r < 0)
		return r;
	plot_script_begin(script, PLOT_SCALE, 640);
	if (!grid.n_lines)
		goto out;
	fprintf(script,
		"set title \"Server CPU per message as connections are added (lower is better)\" "
		"font ',17'\n"
		"set xlabel 'connections, each with messages of %llu bytes'\n"
		"set ylabel 'µs of server CPU per message'\n"
		"set logscale x\nset format x '%%.0f'\nset yrange [0:*]\n"
		"set border 3 linecolor rgb '#888888'\nset tics nomirror textcolor rgb 'black'\n"
		"set grid ytics linetype 1 linecolor rgb '#dddddd'\n"
		"set key outside right center reverse Left samplen 2.5 spacing 1.3\n"
		"set errorbars 0.6\nset offsets graph 0.02, graph 0.02, 0, 0\nplot ",
		(unsigned long long)grid.lines[0].size);
	for (size_t s = 0; s < grid.n_servers; s++) {
		if (!scale_data(data, &grid, s))
			continue;
		fprintf(script, "%s'scale.dat' index %u using 1:2:3:4 with yerrorlines ",
			index ? ", \\\n" : "", index);
		print_line_style(script, sweep, server_index(sweep, grid.servers[s]));
		fprintf(script, " title '%s'", grid.servers[s]);
		index++;
	}
	fputc('\n', script);
out:
	grid_free(&grid);
	return index > 0;
}

/* --- latency --------------------------------------------------------------------------------- */

static bool latency_data(FILE *data, const struct grid *grid, size_t line, size_t server)
{
	unsigned points = 0;

	for (enum metric metric = METRIC_P50; metric <= METRIC_MAX; metric++) {
		struct stat_summary value = grid_value(grid, line, server, metric);

		if (!value.n || value.median <= 0)
			continue;
		fprintf(data, "%d %.6g\n", metric - METRIC_P50 + 1, value.median / 1e3);
		points++;
	}
	if (points)
		fputs("\n\n", data);
	return points;
}

/* Only the first of a row says what its heights are, and only the lowest what is across. */
static void latency_axes(FILE *script, unsigned line, unsigned columns, unsigned rows)
{
	double width = 0.945 / columns, height = 0.73 / rows;
	double left = 0.05 + line % columns * width, top = 0.85 - line / columns * height;
	bool lowest = line / columns + 1 == rows;

	print_frame(script, (struct frame){left, left + width * 0.92, top - height + 0.055, top});
	fprintf(script, "set format y '%s'\n", line % columns ? "" : "%.0f");
	fprintf(script, "set xtics rotate by -35 (%s)\n",
		lowest ? "'50 %%' 1, '90 %%' 2, '99 %%' 3, '99.9 %%' 4, '99.99 %%' 5, 'max' 6"
		       : "'' 1, '' 2, '' 3, '' 4, '' 5, '' 6");
}

static void latency_panel(FILE *data, FILE *script, const struct grid *grid, unsigned line,
			  unsigned columns, unsigned rows, unsigned *index, bool *shown)
{
	const char *before = "plot ";
	char label[USE_LABEL_MAX];

	use_label(grid, line, label);
	latency_axes(script, line, columns, rows);
	fprintf(script, "set title '%s'\n", label);
	for (size_t s = 0; s < grid->n_servers; s++) {
		size_t server = server_index(grid->sweep, grid->servers[s]);

		if (!latency_data(data, grid, line, s))
			continue;
		fprintf(script, "%s'latency.dat' index %u using 1:2 with linespoints ", before,
			(*index)++);
		print_line_style(script, grid->sweep, server);
		fputs(" notitle", script);
		before = ", \\\n";
		shown[server] = true;
	}
	fputs(before[0] == ',' ? "\n" : "plot NaN notitle\n", script);
	end_panel(script);
}

/* One scale for all panels, whole decades: in µs. */
static void latency_range(FILE *script, const struct grid *grid)
{
	double low = INFINITY, high = 0;

	for (size_t i = 0; i < grid->n_lines; i++) {
		for (size_t s = 0; s < grid->n_servers; s++) {
			double least = grid_value(grid, i, s, METRIC_P50).median / 1e3;
			double most = grid_value(grid, i, s, METRIC_MAX).median / 1e3;

			low = least > 0 ? fmin(low, least) : low;
			high = most > 0 ? fmax(high, most) : high;
		}
	}
	if (low < high)
		fprintf(script, "set yrange [%.6g:%.6g]\n", low / 1.5, high * 1.5);
}

int plot_latency(FILE *data, FILE *script, const struct sweep *sweep)
{
	bool shown[SWEEP_SERVERS_MAX] = {false};
	unsigned index = 0, columns, rows, panels;
	struct grid grid;
	int r = grid_init(&grid, sweep, "latency");

	if (r < 0)
		return r;
	panels = grid.n_lines < PLOT_PANELS_MAX ? grid.n_lines : PLOT_PANELS_MAX;
	rows = panels > 4 ? 2 : 1;
	columns = (panels + rows - 1) / rows;
	plot_script_begin(script, PLOT_LATENCY, rows > 1 ? 900 : 640);
	print_head(script, "Latency at a given rate in µs (lower is better)",
		   "open loop: counted from when a request was due; medians of the rounds; the "
		   "scale is logarithmic");
	latency_range(script, &grid);
	fputs("set logscale y\nset border 3 linecolor rgb '#888888'\nset format y '%.0f'\n"
	      "set tics nomirror textcolor rgb 'black'\nset xrange [0.7:6.3]\n"
	      "set ytics (1, 2, 5)\n"
	      "do for [e = 1:9] { set ytics add (10 ** e, 2 * 10 ** e, 5 * 10 ** e) }\n"
	      "set grid ytics linetype 1 linecolor rgb '#dddddd'\n",
	      script);
	for (unsigned i = 0; i < panels; i++)
		latency_panel(data, script, &grid, i, columns, rows, &index, shown);
	plot_legend(script, sweep, shown, 0.04);
	fputs("unset logscale\nunset border\nunset tics\nunset title\nset yrange [0:1]\n"
	      "set xrange [0:1]\nplot NaN notitle\nunset multiplot\n",
	      script);
	grid_free(&grid);
	return index > 0;
}
