/* SPDX-License-Identifier: MIT */
/* The plots of a report: data files, gnuplot scripts, and what gnuplot makes of them. */
#ifndef SLUICE_BENCH_REPORT_PLOT_H
#define SLUICE_BENCH_REPORT_PLOT_H

#include <stdbool.h>
#include <stdio.h>

#include "grid.h"

enum plot { PLOT_COST, PLOT_SPEED, PLOT_SCALE, PLOT_LATENCY, PLOT_COUNT };

struct plots {
	bool written[PLOT_COUNT]; /* there were figures for it: NAME.dat and NAME.gp are there */
	bool drawn[PLOT_COUNT];   /* so are NAME.svg and NAME.png */
	bool no_gnuplot;          /* it is not installed */
};

/* The file name without its end, and a caption. */
const char *plot_name(enum plot plot);
const char *plot_caption(enum plot plot);

/*
 * Writes the data and the script of each plot that the sweep has figures for into dir, and runs
 * gnuplot on them, whose complaints go to the standard error. That gnuplot is not installed or
 * fails is no error here: see ret_plots. 0 or -errno, with the name of the file on standard error.
 */
int plots_write(const char *dir, const struct sweep *sweep, struct plots *ret_plots);

/* --- between the files of this part ---------------------------------------------------------- */

enum { PLOT_PANELS_MAX = 10 };

/* What is drawn with one colour and one mark throughout. */
struct plot_style {
	const char *colour;
	int mark; /* gnuplot's point types */
	bool dashed;
};

struct plot_style plot_style(const struct sweep *sweep, size_t server);

/* Begins a script that draws everything up to plot_script_end() twice, as SVG and as PNG. */
void plot_script_begin(FILE *script, enum plot plot, unsigned height);
void plot_script_end(FILE *script);

/* Names with their colours, in a line whose middle is at this height of the page (0 to 1). */
void plot_legend(FILE *script, const struct sweep *sweep, const bool *shown, double height);

/* Each writes one plot: 1 when there was something to draw, 0 when not, or -ENOMEM. */
int plot_bars(FILE *data, FILE *script, const struct sweep *sweep, enum plot plot);
int plot_scale(FILE *data, FILE *script, const struct sweep *sweep);
int plot_latency(FILE *data, FILE *script, const struct sweep *sweep);

#endif
