/* SPDX-License-Identifier: MIT */
/* The report as a page of Markdown, and as rows for programs. */
#ifndef SLUICE_BENCH_REPORT_MARKDOWN_H
#define SLUICE_BENCH_REPORT_MARKDOWN_H

#include <stdio.h>

#include "grid.h"
#include "plot.h"

/* Text from outside into Markdown: nothing in it has a meaning, and it stays on its line. */
void markdown_text(FILE *out, const char *text);

/* value with three digits or more, thousands apart; "-" for what is not finite. Returns ret. */
enum { MARKDOWN_NUMBER_MAX = 48 };
const char *markdown_number(double value, char ret[MARKDOWN_NUMBER_MAX]);

/* The tables of one use. */
void markdown_use(FILE *out, const struct grid *grid);

/* Three to five ratios that a use is summed up in, as cells of a table; the head of that table. */
void markdown_sum_head(FILE *out);
void markdown_sum_line(FILE *out, const struct grid *grid);

/* The whole page. Failures to write are the stream's. 0 or -ENOMEM. */
int markdown_write(FILE *out, const struct sweep *sweep, const struct plots *plots);

#endif
