/* SPDX-License-Identifier: MIT */
/* The verbs of sluice-bench. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bench/client/opts.h"
#include "bench/client/run.h"
#include "bench/report/report.h"

static const char verbs_help[] =
	"\n"
	"Other commands:\n"
	"  sluice-bench compare A.json B.json        which differences are real\n"
	"  sluice-bench report RUNS.jsonl --out DIR  tables and plots of a sweep\n"
	"  sluice-bench help compare | report\n"
	"  sluice-bench --version\n";

static int print_help(void)
{
	fputs(bench_opts_help, stdout);
	fputs(verbs_help, stdout);
	return 0;
}

/* `help VERB` is what `VERB --help` prints. */
static int help_command(int argc, char **argv)
{
	char *words[] = {argc > 2 ? argv[2] : NULL, "--help", NULL};

	if (argc == 2)
		return print_help();
	if (argc == 3 && !strcmp(argv[2], "report"))
		return report_command(2, words);
	if (argc == 3 && !strcmp(argv[2], "compare"))
		return compare_command(2, words);
	fprintf(stderr, "sluice-bench: help: '%s': there is help, help compare and help report\n",
		argv[argc - 1]);
	return 2;
}

static int load_command(int argc, char **argv)
{
	char error[BENCH_ERROR_TEXT];
	struct bench_opts opts;
	int status;

	switch (bench_opts_parse(argc, argv, &opts, error)) {
	case BENCH_OPTS_HELP:
		return print_help();
	case BENCH_OPTS_WRONG:
		fprintf(stderr, "sluice-bench: %s\n", error);
		return 2;
	case BENCH_OPTS_RUN:
		break;
	}
	status = bench_run(&opts);
	bench_opts_free(&opts);
	return status;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	if (!strcmp(verb, "help"))
		return help_command(argc, argv);
	if (!strcmp(verb, "--version")) {
		printf("sluice-bench %s\n", SLUICE_VERSION);
		return 0;
	}
	if (!strcmp(verb, "report"))
		return report_command(argc - 1, argv + 1);
	if (!strcmp(verb, "compare"))
		return compare_command(argc - 1, argv + 1);
	return load_command(argc, argv);
}
