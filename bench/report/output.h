/* SPDX-License-Identifier: MIT */
/* A sweep for programs: the rows of report.json, and one line of CSV for each sample. */
#ifndef SLUICE_BENCH_REPORT_OUTPUT_H
#define SLUICE_BENCH_REPORT_OUTPUT_H

#include <stdio.h>

#include "sweep.h"

/* Which metrics a row is about: those by the message or by the byte, and latencies. */
bool output_has(const struct sweep_row *row, enum metric metric);

/* The document of the schema sluice-bench-report/1, for the caller to free; NULL: no memory. */
json_t *output_json(const struct sweep *sweep);

/* Failures to write are the stream's. */
void output_csv(FILE *out, const struct sweep *sweep);

#endif
