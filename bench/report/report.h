/* SPDX-License-Identifier: MIT */
/* What the benchmark's verbs `report` and `compare` offer to the program that dispatches them. */
#ifndef SLUICE_BENCH_REPORT_REPORT_H
#define SLUICE_BENCH_REPORT_REPORT_H

/*
 * Each runs one verb: argv[0] is the verb itself, and what a person reads goes to the standard
 * output, errors to the standard error. The return is the exit status.
 */

/* `report RUNS.jsonl --out DIR`: 0 written, 1 failed to write or draw, 2 wrong use or input. */
int report_command(int argc, char **argv);

/* `compare A.json B.json`: 0 no regression, 1 a regression, 2 wrong use or input. */
int compare_command(int argc, char **argv);

#endif
