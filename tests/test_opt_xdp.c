/* SPDX-License-Identifier: MIT */
/* The command line: what there is to say about the filter, by a server's options and by `xdp`. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/opt.h"
#include "core/util.h"

/* Splits line at its spaces into argv, "sluice" before it. The words live until the next call. */
static int split(const char *line, char *argv[], int max)
{
	static char words[4096];
	char *rest, *word;
	int n = 0;

	snprintf(words, sizeof(words), "%s", line);
	argv[n++] = (char *)"sluice";
	for (word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		cr_assert_lt(n, max);
		argv[n++] = word;
	}
	argv[n] = NULL;
	return n;
}

static int parse(const char *line, struct opt *opt, char *error)
{
	char *argv[100];
	int argc = split(line, argv, (int)ARRAY_SIZE(argv) - 1);

	strcpy(error, "untouched");
	return opt_parse(argc, argv, opt, error);
}

Test(opt_xdp, server_options)
{
	static const char *const lines[] = {
		"echo -l tcp:a:1 -l udp:a:1 --xdp eth0 --xdp veth.100 --xdp-mode generic "
		"--xdp-rules /etc/sluice/rules",
		"discard --xdp-rules=/etc/sluice/rules --xdp-mode=generic --xdp=eth0 "
		"--xdp=veth.100 -l udp:[::1]:0",
		"relay -l udp:a:1 -t udp:b:1 --xdp-mode native --xdp-mode generic --xdp eth0 "
		"--xdp veth.100 --xdp-rules x --xdp-rules /etc/sluice/rules",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_assert_eq(parse(lines[i], &opt, error), 0, "%s: %s", lines[i], error);
		cr_assert_eq(opt.n_xdp, 2);
		cr_expect_str_eq(opt.xdp[0], "eth0");
		cr_expect_str_eq(opt.xdp[1], "veth.100");
		cr_expect_eq(opt.xdp_mode, OPT_XDP_GENERIC);
		cr_expect_str_eq(opt.xdp_rules, "/etc/sluice/rules");
	}
}

Test(opt_xdp, modes)
{
	static const struct {
		const char *text;
		enum opt_xdp_mode mode;
	} rows[] = {
		{"auto", OPT_XDP_AUTO}, {"native", OPT_XDP_NATIVE}, {"generic", OPT_XDP_GENERIC}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct opt opt;
		char line[100], error[OPT_ERROR_MAX];

		snprintf(line, sizeof(line), "echo -l udp:a:1 --xdp eth0 --xdp-mode %s",
			 rows[i].text);
		cr_assert_eq(parse(line, &opt, error), 0, "%s", error);
		cr_expect_eq(opt.xdp_mode, rows[i].mode);
	}
}

Test(opt_xdp, refused)
{
	static const struct {
		const char *line, *names, *remedy;
	} rows[] = {
		{"echo -l tcp:a:1 --xdp eth0", "'--xdp eth0': no udp listener", "-l udp:"},
		{"echo -l unix:/a --xdp=eth0", "no udp listener", "leave --xdp out"},
		{"relay -l tcp:a:1 -t tcp:b:1 --xdp eth0", "no udp listener", "-l udp:"},
		{"echo -l udp:a:1 --xdp", "'--xdp'", "value is missing"},
		{"echo -l udp:a:1 --xdp=", "'--xdp='", "1 to 15 characters"},
		{"echo -l udp:a:1 --xdp abcdefghijklmnop", "abcdefghijklmnop",
		 "1 to 15 characters"},
		{"echo -l udp:a:1 --xdp eth0 --xdp lo --xdp eth0", "'--xdp eth0'", "given twice"},
		{"echo -l udp:a:1 --xdp-mode native", "--xdp-mode", "--xdp eth0"},
		{"echo -l udp:a:1 --xdp-mode auto", "--xdp-mode", "--xdp eth0"},
		{"echo -l udp:a:1 --xdp-rules f", "--xdp-rules", "--xdp eth0"},
		{"echo -l udp:a:1 --xdp lo --xdp-mode driver", "'--xdp-mode driver'",
		 "auto, native or generic"},
		{"echo -l udp:a:1 --xdp lo --xdp-mode genric", "'--xdp-mode genric'",
		 "did you mean generic?"},
		{"echo -l udp:a:1 --xdp-mod", "'--xdp-mod'", "value is missing"},
		{"echo -l udp:a:1 --xdp-modes auto", "'--xdp-modes'", "did you mean --xdp-mode?"},
		{"probe --xdp eth0", "'--xdp'", "sluice help probe"},
		{"xdp", "a subcommand is missing", "sluice xdp status"},
		{"xdpp", "'xdpp'", "did you mean: sluice xdp?"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_assert_eq(parse(rows[i].line, &opt, error), -EINVAL, "%s", rows[i].line);
		cr_expect(strstr(error, rows[i].names), "%s: %s", rows[i].line, error);
		cr_expect(strstr(error, rows[i].remedy), "%s: %s", rows[i].line, error);
		cr_expect_null(strchr(error, '\n'), "%s", error);
	}
}

Test(opt_xdp, too_many_interfaces)
{
	char line[600] = "echo -l udp:a:1";
	struct opt opt;
	char error[OPT_ERROR_MAX];

	for (int i = 0; i < OPT_XDP_MAX; i++)
		snprintf(line + strlen(line), 30, " --xdp if%d", i);
	cr_assert_eq(parse(line, &opt, error), 0, "%s", error);
	cr_expect_eq(opt.n_xdp, OPT_XDP_MAX);
	strcat(line, " --xdp more");
	cr_assert_eq(parse(line, &opt, error), -EINVAL);
	cr_expect(strstr(error, "'--xdp more': too many interfaces; 16"), "%s", error);
}

/* Not looked at: what they mean is told by the filter's command. */
Test(opt_xdp, words_are_handed_over)
{
	static const struct {
		const char *line;
		int n;
	} rows[] = {
		{"xdp status", 1},
		{"xdp nonsense --nonsense -l", 3},
		{"xdp add eth0 drop from 192.0.2.0/24", 5},
		{"xdp rules eth0 -- -h", 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *argv[100];
		int argc = split(rows[i].line, argv, (int)ARRAY_SIZE(argv) - 1);
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_assert_eq(opt_parse(argc, argv, &opt, error), 0, "%s", error);
		cr_expect_eq(opt.command, OPT_XDP);
		cr_expect_eq(opt.xdp_argc, rows[i].n);
		cr_expect_eq(opt.xdp_argv, argv + 2);
	}
}

Test(opt_xdp, fast_path)
{
	static const struct {
		const char *line;
		enum opt_fast_path fast_path;
		int sessions;
	} rows[] = {
		{"echo -l udp:a:1", OPT_FAST_AUTO, 0},
		{"echo -l udp:a:1 --fast-path auto", OPT_FAST_AUTO, 0},
		{"echo -l udp:a:1 --fast-path off", OPT_FAST_OFF, 0},
		{"echo -l udp:a:1 --fast-path on --xdp eth0", OPT_FAST_ON, 0},
		{"discard -l udp:a:1 --xdp eth0 --fast-path off", OPT_FAST_OFF, 0},
		{"relay -l udp:a:1 -t udp:b:1 --xdp eth0 --fast-sessions 65536", OPT_FAST_AUTO,
		 65536},
		{"relay -l udp:a:1 -t udp:b:1 --xdp eth0 --fast-sessions=1 --fast-path=on",
		 OPT_FAST_ON, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_assert_eq(parse(rows[i].line, &opt, error), 0, "%s: %s", rows[i].line, error);
		cr_expect_eq(opt.fast_path, rows[i].fast_path, "%s", rows[i].line);
		cr_expect_eq(opt.fast_sessions, rows[i].sessions, "%s", rows[i].line);
	}
}

Test(opt_xdp, fast_path_mistakes)
{
	static const struct {
		const char *line, *why;
	} rows[] = {
		{"echo -l udp:a:1 --fast-path on", "--fast-path on: no interface"},
		{"relay -l udp:a:1 -t udp:b:1 --fast-sessions 5", "--fast-sessions: no interface"},
		{"echo -l udp:a:1 --xdp eth0 --fast-path fast", "must be auto, on or off"},
		{"echo -l udp:a:1 --xdp eth0 --fast-path aut", "did you mean auto?"},
		{"echo -l udp:a:1 --xdp eth0 --fast-sessions 5", "only a relay has sessions"},
		{"discard -l udp:a:1 --xdp eth0 --fast-path on", "discard has none"},
		{"relay -l udp:a:1 -t udp:b:1 --xdp eth0 --fast-sessions 0", "from 1 to 65536"},
		{"relay -l udp:a:1 -t udp:b:1 --xdp eth0 --fast-sessions 65537", "from 1 to 65536"},
		{"echo -l udp:a:1 --xdp eth0 --fast-path", "its value is missing"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_assert_eq(parse(rows[i].line, &opt, error), -EINVAL, "%s", rows[i].line);
		cr_expect(strstr(error, rows[i].why), "%s: %s", rows[i].line, error);
	}
}
