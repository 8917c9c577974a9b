/* SPDX-License-Identifier: MIT */
/* The benchmark's comparison: verdicts on what is known, hostile files, the verbs themselves. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/report/compare.h"
#include "bench/report/report.h"

enum { TEXT_MAX = 1 << 16 };

static void parse(const char *text, struct compare_side *side)
{
	char error[COMPARE_ERROR_MAX] = "";

	cr_assert_eq(compare_parse(text, strlen(text), side, error), 0, "%s", error);
}

/* A report with one row for each server: n samples about cost, a thousandth apart. */
static char *report_text(char text[TEXT_MAX], const char *const *servers, const double *costs,
			 unsigned n)
{
	size_t len = sprintf(text, "{\"schema\":\"sluice-bench-report/1\",\"env\":{},\"rows\":[");

	for (unsigned s = 0; servers[s]; s++) {
		len += sprintf(text + len,
			       "%s{\"use\":\"echo\",\"cell\":\"64x64\",\"server\":\"%s\","
			       "\"workers\":1,\"metric\":\"cpu_ns_per_message\",\"samples\":[",
			       s ? "," : "", servers[s]);
		for (unsigned i = 0; i < n; i++)
			len += sprintf(text + len, "%s%.6f", i ? "," : "",
				       costs[s] * (1 + i / 1000.0));
		len += sprintf(text + len, "]}");
	}
	strcpy(text + len, "]}");
	return text;
}

static const char *const ours[] = {"sluice_epoll", NULL};

/* Judges two reports of one server; results[0] is what counts. */
static void judge(double a, double b, unsigned n, struct compare_judgement *judgement,
		  struct compare_side side[2])
{
	char text[TEXT_MAX];

	parse(report_text(text, ours, &a, n), &side[0]);
	parse(report_text(text, ours, &b, n), &side[1]);
	cr_assert_eq(compare_judge(&side[0], &side[1], 0.05, 0.02, false, judgement), 0);
	cr_assert_eq(judgement->n, 1);
}

static void done(struct compare_judgement *judgement, struct compare_side side[2])
{
	compare_judgement_free(judgement);
	compare_side_free(&side[0]);
	compare_side_free(&side[1]);
}

Test(bench_compare, verdicts)
{
	static const struct {
		double a, b;
		unsigned n;
		enum compare_verdict verdict;
	} cases[] = {
		{1000, 1000, 9, COMPARE_UNCHANGED},   {1000, 1100, 9, COMPARE_REGRESSION},
		{1100, 1000, 9, COMPARE_IMPROVEMENT}, {1000, 1015, 9, COMPARE_UNCHANGED},
		{1000, 1100, 4, COMPARE_REGRESSION},  {1000, 9000, 3, COMPARE_CANNOT_SAY},
		{1000, 9000, 2, COMPARE_CANNOT_SAY},  {1000, 1000, 1, COMPARE_CANNOT_SAY},
		{0, 1000, 9, COMPARE_UNCHANGED},
	};
	struct compare_judgement judgement;
	struct compare_side side[2];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		judge(cases[i].a, cases[i].b, cases[i].n, &judgement, side);
		cr_expect_eq(judgement.results[0].verdict, cases[i].verdict, "%zu: %s", i,
			     compare_verdict_name(judgement.results[0].verdict));
		cr_expect_eq(judgement.count[cases[i].verdict], 1);
		cr_expect_eq(judgement.rounds_alone, 4);
		done(&judgement, side);
	}
}

Test(bench_compare, the_ratio_has_its_interval)
{
	struct compare_judgement judgement;
	struct compare_side side[2];
	const struct compare_result *result;

	judge(1000, 1100, 9, &judgement, side);
	result = &judgement.results[0];
	cr_expect(fabs(result->ratio - 1.1) < 1e-3);
	cr_expect(result->low < 1.1 && result->low > 1.09 && result->high > 1.1 &&
		  result->high < 1.11);
	cr_expect(result->p < 0.001 && !result->alike);
	done(&judgement, side);
	judge(1000, 1000, 9, &judgement, side);
	cr_expect(judgement.results[0].alike && judgement.alike == 1);
	done(&judgement, side);
}

/* Both were measured on a machine that became slower: floor_epoll tells, and divides it out. */
Test(bench_compare, a_slower_machine_is_no_regression)
{
	static const char *const servers[] = {"floor_epoll", "sluice_epoll", NULL};
	static const double fast[] = {1000, 1200}, slow[] = {1300, 1560};
	struct compare_judgement judgement;
	struct compare_side side[2];
	char text[TEXT_MAX];

	parse(report_text(text, servers, fast, 9), &side[0]);
	parse(report_text(text, servers, slow, 9), &side[1]);
	cr_assert_eq(compare_judge(&side[0], &side[1], 0.05, 0.02, false, &judgement), 0);
	cr_expect_eq(judgement.count[COMPARE_REGRESSION], 1);
	cr_expect_eq(judgement.count[COMPARE_NOT_JUDGED], 1);
	cr_expect(fabs(judgement.others - 1.3) < 1e-6);
	compare_judgement_free(&judgement);
	cr_assert_eq(compare_judge(&side[0], &side[1], 0.05, 0.02, true, &judgement), 0);
	cr_expect_eq(judgement.count[COMPARE_REGRESSION], 2);
	compare_judgement_free(&judgement);
	cr_expect_eq(compare_against(&side[0], "floor_epoll"), 0);
	cr_expect_eq(compare_against(&side[1], "floor_epoll"), 0);
	cr_assert_eq(compare_judge(&side[0], &side[1], 0.05, 0.02, false, &judgement), 0);
	cr_expect_eq(judgement.n, 1);
	cr_expect_eq(judgement.results[0].verdict, COMPARE_UNCHANGED);
	cr_expect(fabs(judgement.results[0].ratio - 1) < 1e-6);
	cr_expect_eq(compare_against(&side[0], "nginx"), -ENOENT);
	done(&judgement, side);
}

/* --- runs ------------------------------------------------------------------------------------ */

#define RUN                                                                                     \
	"{\"schema\":\"sluice-bench/1\",\"options\":{\"pattern\":\"rr\"},\"messages_per_s\":1," \
	"\"bytes_per_s\":1,\"errors_total\":0,\"latency_ns\":{\"count\":5,\"p50\":7},"

static char *run_text(char text[TEXT_MAX], unsigned n, unsigned messages)
{
	size_t len = sprintf(text, RUN "\"intervals\":[");

	for (unsigned i = 0; i < n; i++)
		len += sprintf(text + len,
			       "%s{\"t_s\":%.2f,\"messages\":%u,\"bytes\":9,\"server_cpu_ns\":%u}",
			       i ? "," : "", (i + 1) * 0.1, messages + i * 7 % 5,
			       100000 + i * 11 % 13);
	strcpy(text + len, "]}");
	return text;
}

Test(bench_compare, intervals_are_the_samples_of_a_run)
{
	struct compare_judgement judgement;
	struct compare_side side[2];
	char text[TEXT_MAX];

	parse(run_text(text, 30, 1000), &side[0]);
	parse(run_text(text, 30, 900), &side[1]);
	cr_assert_eq(compare_judge(&side[0], &side[1], 0.05, 0.02, false, &judgement), 0);
	cr_expect_eq(judgement.n, 3);
	cr_expect_eq(judgement.count[COMPARE_REGRESSION], 2);
	cr_expect_eq(judgement.count[COMPARE_NOT_JUDGED], 1);
	cr_expect(fabs(judgement.results[0].ratio - 1.11) < 0.01);
	cr_expect(side[0].blocks >= COMPARE_BLOCKS_MIN);
	done(&judgement, side);
}

Test(bench_compare, blocks_grow_until_they_do_not_correlate)
{
	double over[160], under[160], values[160];
	bool correlated;
	size_t n;

	for (int i = 0; i < 160; i++) {
		under[i] = 1;
		over[i] = i % 2 ? 90 : 110;
	}
	cr_expect_eq(compare_blocks(over, under, 160, values, &correlated), 160);
	cr_expect(!correlated);
	for (int i = 0; i < 160; i++)
		over[i] = 100 + 10 * sin(i * 0.8);
	n = compare_blocks(over, under, 160, values, &correlated);
	cr_expect(n < 160 && n >= COMPARE_BLOCKS_MIN && !correlated, "%zu", n);
	for (int i = 0; i < 160; i++)
		over[i] = i;
	n = compare_blocks(over, under, 160, values, &correlated);
	cr_expect(n == COMPARE_BLOCKS_MIN && correlated, "%zu", n);
	cr_expect_eq(compare_blocks(over, under, 0, values, &correlated), 0);
	memset(under, 0, sizeof(under));
	cr_expect_eq(compare_blocks(over, under, 160, values, &correlated), 0);
}

/* --- files ----------------------------------------------------------------------------------- */

Test(bench_compare, what_is_wrong_with_a_file_is_named)
{
#define REPORT(rows) "{\"schema\":\"sluice-bench-report/1\",\"env\":{},\"rows\":" rows "}"
#define ROW(end) "{\"use\":\"u\",\"cell\":\"c\",\"server\":\"s\",\"workers\":1" end "}"
#define CPU ",\"metric\":\"cpu_ns_per_message\",\"samples\":"
	static const struct {
		const char *text, *says;
	} files[] = {
		{"", "not JSON"},
		{"\0", "not JSON"},
		{"{", "not JSON"},
		{"[]", "schema"},
		{"{\"schema\":\"sluice-bench/2\"}", "schema"},
		{"{\"schema\":\"sluice-bench/1\"}", "pattern"},
		{"{\"env\":{}}\n{}\n", "report"},
		{RUN "\"intervals\":7}", "intervals"},
		{RUN "\"intervals\":[7]}", "intervals"},
		{RUN "\"intervals\":[{\"t_s\":1,\"messages\":-1,\"bytes\":0}]}", "messages"},
		{RUN "\"intervals\":[{\"t_s\":0,\"messages\":1,\"bytes\":0}]}", "ascending"},
		{"{\"schema\":\"sluice-bench-report/1\"}", "env"},
		{REPORT("7"), "rows"},
		{REPORT("[7]"), "rows[0]: use"},
		{REPORT("[" ROW("") "]"), "metric"},
		{REPORT("[" ROW(CPU "7") "]"), "samples"},
		{REPORT("[" ROW(CPU "[\"1\"]") "]"), "samples"},
		{REPORT("[" ROW(CPU "[-1]") "]"), "samples"},
		{REPORT("[" ROW(CPU "[NaN]") "]"), "not JSON"},
		{REPORT("[" ROW(CPU "[1],\"rounds\":[]") "]"), "rounds"},
		{REPORT("[" ROW(CPU "[1,2],\"rounds\":[2,1]") "]"), "rounds"},
		{REPORT("[" ROW(CPU "[1]") "," ROW(CPU "[1]") "]"), "two rows"},
	};
	struct compare_side side;

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		char error[COMPARE_ERROR_MAX] = "";
		const char *text = files[i].text;

		cr_assert_eq(compare_parse(text, strlen(text), &side, error), -EINVAL, "%s", text);
		cr_expect(strstr(error, files[i].says), "%s: %s", text, error);
	}
	parse(REPORT("[" ROW(",\"metric\":\"of_tomorrow\",\"samples\":[1]") "]"), &side);
	cr_expect(side.n == 0 && side.unknown == 1);
	compare_side_free(&side);
}

/* --- the verbs ------------------------------------------------------------------------------- */

static char folder[] = "/tmp/sluice-bench-test-XXXXXX";

static void make_folder(void)
{
	cr_redirect_stdout();
	cr_redirect_stderr();
	cr_assert(mkdtemp(folder));
	cr_assert_eq(chdir(folder), 0);
}

static void remove_folder(void)
{
	static const char *const names[] = {
		"a.json",
		"b.json",
		"runs.jsonl",
		"out/x/report.md",
		"out/x/cost.dat",
		"out/x/cost.gp",
		"out/x/throughput.dat",
		"out/x/throughput.gp",
		"out/x/report.json",
		"out/x/report.csv",
		"out/x",
		"out",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		remove(names[i]);
	cr_expect_eq(rmdir(folder), 0, "files are left in %s", folder);
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	fputs(text, file);
	fclose(file);
}

static int compare(const char *a, const char *b, const char *option)
{
	char *argv[] = {"compare", (char *)a, (char *)b, (char *)option, NULL};

	return compare_command(option ? 4 : 3, argv);
}

static int report(const char *runs, const char *dir)
{
	char *argv[] = {"report", (char *)runs, "--out", (char *)dir, NULL};

	return report_command(4, argv);
}

Test(bench_compare, exit_status, .init = make_folder, .fini = remove_folder)
{
	static const double less = 1000, more = 1200;
	char text[TEXT_MAX];

	write_text("a.json", report_text(text, ours, &less, 9));
	write_text("b.json", report_text(text, ours, &more, 9));
	cr_expect_eq(compare("a.json", "a.json", NULL), 0);
	cr_expect_eq(compare("a.json", "b.json", NULL), 1);
	cr_expect_eq(compare("b.json", "a.json", "--all"), 0);
	cr_expect_eq(compare("a.json", "b.json", "--min-change=25"), 0);
	cr_expect_eq(compare("a.json", "b.json", "--alpha=0"), 2);
	cr_expect_eq(compare("a.json", "b.json", "--against=nginx"), 2);
	cr_expect_eq(compare("a.json", "b.json", "--nonsense"), 2);
	cr_expect_eq(compare("a.json", "b.json", "c.json"), 2);
	cr_expect_eq(compare("a.json", "missing.json", NULL), 2);
	write_text("b.json", run_text(text, 30, 100));
	cr_expect_eq(compare("a.json", "b.json", NULL), 2);
}

/* Without gnuplot: the report is whole but for the plots, and says what to do. */
Test(bench_compare, a_report_is_made_and_compared, .init = make_folder, .fini = remove_folder)
{
	char text[TEXT_MAX] = "{\"env\":{\"missing\":[\"nginx: <none>\"]}}\n", page[TEXT_MAX];
	size_t len = strlen(text), got;
	FILE *file;

	for (unsigned round = 1; round <= 5; round++)
		len += sprintf(text + len,
			       "{\"round\":%u,\"use\":\"echo\",\"cell\":\"1x64\",\"connections\":1,"
			       "\"size\":64,\"server\":\"sluice_epoll\",\"workers\":1,\"run\":" RUN
			       "\"server\":{\"cpu_ns_per_message\":%u}}}\n",
			       round, 1000 + round);
	write_text("runs.jsonl", text);
	setenv("PATH", "/nonexistent", 1);
	cr_assert_eq(report("runs.jsonl", "out/x"), 0);
	file = fopen("out/x/report.md", "r");
	cr_assert(file);
	got = fread(page, 1, sizeof(page) - 1, file);
	page[got] = '\0';
	fclose(file);
	cr_expect(strstr(page, "make bench-deps"));
	cr_expect(strstr(page, "nginx: \\<none\\>"));
	cr_expect(strstr(page, "| 1x64 | 1.00 (1.00-1.00) |"), "%s", page);
	cr_expect_eq(compare("out/x/report.json", "out/x/report.json", NULL), 0);
	cr_expect_eq(report("missing", "out/x"), 2);
	cr_expect_eq(report("a.json", ""), 2);
	cr_expect_eq(report("runs.jsonl", "runs.jsonl/x"), 1);
}
