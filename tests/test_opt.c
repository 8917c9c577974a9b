/* SPDX-License-Identifier: MIT */
/* The command line: values, defaults, every refusal with its remedy, help texts. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/opt.h"
#include "core/util.h"

#define S NS_PER_S
#define HOURS (3600 * NS_PER_S)

Test(opt, times)
{
	static const struct {
		const char *text;
		int r;
		int64_t ns;
	} rows[] = {
		{"0", 0, 0},
		{"off", 0, 0},
		{"5", 0, 5 * S},
		{"5s", 0, 5 * S},
		{"250ms", 0, S / 4},
		{"1m", 0, 60 * S},
		{"2h", 0, 2 * HOURS},
		{"007s", 0, 7 * S},
		{"1000h", 0, 1000 * HOURS},
		{"3600000", 0, 1000 * HOURS},
		{"3600001", -ERANGE, 0},
		{"1001h", -ERANGE, 0},
		{"18446744073709551615h", -ERANGE, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"99999999999999999999999ms", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{"ms", -EINVAL, 0},
		{"-5s", -EINVAL, 0},
		{"+5s", -EINVAL, 0},
		{" 5s", -EINVAL, 0},
		{"5 s", -EINVAL, 0},
		{"5s ", -EINVAL, 0},
		{"5S", -EINVAL, 0},
		{"1.5s", -EINVAL, 0},
		{"5d", -EINVAL, 0},
		{"5us", -EINVAL, 0},
		{"0x5", -EINVAL, 0},
		{"Off", -EINVAL, 0},
		{"offs", -EINVAL, 0},
		{"1h30m", -EINVAL, 0},
		{"99999999999999999999999x", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int64_t ns = 42;

		cr_expect_eq(opt_parse_time(rows[i].text, &ns), rows[i].r, "%s", rows[i].text);
		cr_expect_eq(ns, rows[i].r ? 42 : rows[i].ns, "%s", rows[i].text);
	}
}

Test(opt, sizes)
{
	static const struct {
		const char *text;
		int r;
		uint64_t bytes;
	} rows[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"1K", 0, 1024},
		{"64M", 0, UINT64_C(64) << 20},
		{"2G", 0, UINT64_C(2) << 30},
		{"17179869183G", 0, UINT64_C(17179869183) << 30},
		{"18446744073709551615", 0, UINT64_MAX},
		{"17179869184G", -ERANGE, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"18446744073709551615K", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"K", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"1k", -EINVAL, 0},
		{"1KB", -EINVAL, 0},
		{"1.5M", -EINVAL, 0},
		{"1 M", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1T", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t bytes = 42;

		cr_expect_eq(opt_parse_size(rows[i].text, &bytes), rows[i].r, "%s", rows[i].text);
		cr_expect_eq(bytes, rows[i].r ? 42 : rows[i].bytes, "%s", rows[i].text);
	}
}

/* expected: the CPUs in order, each followed by a space. */
Test(opt, cpu_lists)
{
	static const struct {
		const char *text;
		int r;
		const char *expected;
	} rows[] = {
		{"0", 0, "0 "},
		{"0,2-5", 0, "0 2 3 4 5 "},
		{"5,1,1-2", 0, "1 2 5 "},
		{"7-7", 0, "7 "},
		{"0-8:3", 0, "0 3 6 "},
		{"0-1:5", 0, "0 "},
		{"0-1:18446744073709551615", 0, "0 "},
		{"1023", 0, "1023 "},
		{"1024", -ERANGE, ""},
		{"0-1024", -ERANGE, ""},
		{"18446744073709551616", -ERANGE, ""},
		{"", -EINVAL, ""},
		{",", -EINVAL, ""},
		{"1,", -EINVAL, ""},
		{",1", -EINVAL, ""},
		{"1,,2", -EINVAL, ""},
		{"1-", -EINVAL, ""},
		{"-1", -EINVAL, ""},
		{"3-1", -EINVAL, ""},
		{"0-3:0", -EINVAL, ""},
		{"0:2", -EINVAL, ""},
		{"0-3:", -EINVAL, ""},
		{"a", -EINVAL, ""},
		{"1 ", -EINVAL, ""},
		{"0x1", -EINVAL, ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[CPU_SETSIZE * 5] = "";
		cpu_set_t set;
		int n = -1, count = 0;

		CPU_ZERO(&set);
		cr_expect_eq(opt_parse_cpus(rows[i].text, &set, &n), rows[i].r, "%s", rows[i].text);
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			if (!CPU_ISSET(cpu, &set))
				continue;
			snprintf(text + strlen(text), 8, "%d ", cpu);
			count++;
		}
		cr_expect_str_eq(text, rows[i].expected);
		cr_expect_eq(n, rows[i].r ? -1 : count, "%s", rows[i].text);
	}
}

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
	char *argv[300];
	int argc = split(line, argv, (int)ARRAY_SIZE(argv) - 1);

	strcpy(error, "untouched");
	return opt_parse(argc, argv, opt, error);
}

Test(opt, defaults)
{
	struct opt opt;
	char error[OPT_ERROR_MAX];

	cr_assert_eq(parse("echo -l tcp:127.0.0.1:7007", &opt, error), 0, "%s", error);
	cr_expect_eq(opt.command, OPT_ECHO);
	cr_expect_eq(opt.n_listen, 1);
	cr_expect_str_eq(opt.listen[0].host, "127.0.0.1");
	cr_expect_eq(opt.n_target, 0);
	cr_expect_eq(opt.backend, OPT_BACKEND_AUTO);
	cr_expect_eq(opt.workers, 0);
	cr_expect_eq(opt.n_cpus, 0);
	cr_expect_eq(opt.max_conns, 0);
	cr_expect_eq(opt.max_sessions, 0);
	cr_expect_eq(opt.backlog, 4096);
	cr_expect_eq(opt.connect_timeout_ns, 5 * S);
	cr_expect_eq(opt.idle_timeout_ns, -1);
	cr_expect_eq(opt.drain_timeout_ns, 10 * S);
	cr_expect_eq(opt.buffer_memory, 0);
	cr_expect_eq(opt.log_level, LOG_INFO);
	cr_expect_eq(opt.log_format, LOG_TEXT);
	cr_expect(!opt.json);
	cr_expect_eq(opt.n_xdp, 0);
	cr_expect_eq(opt.xdp_mode, OPT_XDP_AUTO);
	cr_expect_null(opt.xdp_rules);
}

/* Every option once, in long and in short form. */
Test(opt, every_option)
{
	static const char *const lines[] = {
		"relay --listen tcp:127.0.0.1:1 --listen udp:[::1]:2 --to tcp:a.example:3 "
		"--to unix:/b --to udp:c:5 --backend epoll --workers 256 --cpus 0,3-4 "
		"--max-conns 1000 --max-sessions 2000 --backlog 65535 --connect-timeout 250ms "
		"--idle-timeout 1m --drain-timeout 2h --buffer-memory 64M --log-level debug "
		"--log-format json",
		"relay -l tcp:127.0.0.1:1 -ludp:[::1]:2 -t tcp:a.example:3 -tunix:/b -t udp:c:5 "
		"-b epoll -w256 --cpus=0,3-4 --max-conns=1000 --max-sessions=2000 --backlog=65535 "
		"--connect-timeout=250ms --idle-timeout=60 --drain-timeout=120m "
		"--buffer-memory=65536K --log-level=debug --log-format=json",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_assert_eq(parse(lines[i], &opt, error), 0, "%s", error);
		cr_expect_eq(opt.command, OPT_RELAY);
		cr_expect_eq(opt.n_listen, 2);
		cr_expect_eq(opt.listen[1].kind, ADDR_UDP);
		cr_expect_str_eq(opt.listen[1].host, "::1");
		cr_expect_eq(opt.n_target, 3);
		cr_expect_eq(opt.target[0].port, 3);
		cr_expect_str_eq(opt.target[1].host, "/b");
		cr_expect_eq(opt.target[2].kind, ADDR_UDP);
		cr_expect_eq(opt.backend, OPT_BACKEND_EPOLL);
		cr_expect_eq(opt.workers, 256);
		cr_expect_eq(opt.n_cpus, 3);
		cr_expect(CPU_ISSET(0, &opt.cpus) && CPU_ISSET(3, &opt.cpus) &&
			  CPU_ISSET(4, &opt.cpus));
		cr_expect_eq(opt.max_conns, 1000);
		cr_expect_eq(opt.max_sessions, 2000);
		cr_expect_eq(opt.backlog, 65535);
		cr_expect_eq(opt.connect_timeout_ns, S / 4);
		cr_expect_eq(opt.idle_timeout_ns, 60 * S);
		cr_expect_eq(opt.drain_timeout_ns, 2 * HOURS);
		cr_expect_eq(opt.buffer_memory, UINT64_C(64) << 20);
		cr_expect_eq(opt.log_level, LOG_DEBUG);
		cr_expect_eq(opt.log_format, LOG_JSON);
	}
}

Test(opt, accepted)
{
	static const char *const lines[] = {
		"discard -l udp:127.0.0.1:9",
		"echo -l tcp:127.0.0.1:7 -l udp:127.0.0.1:7 -l unix:/run/s",
		"echo -l tcp:127.0.0.1:0 -l tcp:127.0.0.1:0",
		"echo -l tcp:127.0.0.1:7 -l tcp:127.0.0.2:7 -l tcp:[::1]:7 -l tcp:127.0.0.1:8",
		"echo -l tcp:a:7 -b io_uring",
		"echo -l tcp:a:7 -w 1 -w 2",
		"echo -l tcp:a:7 --",
		"echo -l tcp:a:7 --worker=3",
		"echo -l tcp:a:7 --idle-timeout off --drain-timeout 0 --buffer-memory 4M",
		"relay -l tcp:a:7 -t unix:/run/x",
		"relay -l unix:/run/x -t tcp:a:7",
		"relay -l udp:a:7 -t udp:a:8 -t udp:b:7",
		"relay -l tcp:0.0.0.0:80 -t tcp:192.0.2.1:80",
		"relay -l tcp:127.0.0.1:80 -t tcp:127.0.0.2:80",
		"relay -l tcp:127.0.0.1:80 -l udp:127.0.0.1:81 -t udp:127.0.0.1:80 -t "
		"tcp:127.0.0.1:81",
		"relay -l tcp:a:0 -t tcp:a:80",
		"probe",
		"probe --json",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_expect_eq(parse(lines[i], &opt, error), 0, "%s: %s", lines[i], error);
	}
}

/* Lines that are refused, with one line that has both pieces in it. */
static const struct {
	const char *line, *names, *remedy;
} refusals[] = {
	{"", "a command is missing", "sluice echo -l tcp:127.0.0.1:7007"},
	{"ecko", "'ecko'", "did you mean: sluice echo?"},
	{"rely -l tcp:a:1", "'rely'", "did you mean: sluice relay?"},
	{"server", "'server'", "there are echo, discard, relay, probe, xdp and help"},
	{"-l tcp:a:1", "'-l'", "there are echo"},
	{"help ehco", "'ehco'", "did you mean: sluice echo?"},
	{"help echo relay", "'relay'", "leave it out"},
	{"--version now", "'now'", "leave it out"},
	{"echo", "no address to listen on", "sluice echo -l tcp:127.0.0.1:7007"},
	{"relay -t tcp:a:1", "no address to listen on", "sluice relay -l"},
	{"relay -l tcp:a:1", "relay: no target", "-t tcp:127.0.0.1:80"},
	{"echo -l tcp:a:1 -t tcp:b:1", "'-t tcp:b:1': echo takes no target", "sluice relay"},
	{"discard -l tcp:a:1 -t tcp:b:1", "discard takes no target", "sluice relay"},
	{"echo -l", "'-l'", "value is missing"},
	{"echo --listen", "'--listen'", "value is missing"},
	{"echo -l tcp:a:1 -w", "'-w'", "value is missing"},
	{"echo -l a:1", "'-l a:1'", "tcp:HOST:PORT"},
	{"echo -la:1", "'-la:1'", "tcp:HOST:PORT"},
	{"echo --listen=a:1", "'--listen=a:1'", "tcp:HOST:PORT"},
	{"echo --listen a:1", "'--listen a:1'", "tcp:HOST:PORT"},
	{"echo -l tcp::1:80", "'-l tcp::1:80'", "brackets"},
	{"echo tcp:a:1", "'tcp:a:1'", "an address follows -l"},
	{"echo -l tcp:a:1 more", "'more'", "sluice help echo"},
	{"echo -l tcp:a:1 -x", "'-x'", "sluice help echo"},
	{"echo --log-level=info -xl tcp:a:1", "'-x'", "sluice help echo"},
	{"echo --lissen tcp:a:1", "'--lissen'", "did you mean --listen?"},
	{"echo --wrokers=3", "'--wrokers=3'", "did you mean --workers?"},
	{"echo --zzz", "'--zzz'", "sluice help echo"},
	{"echo --help=me", "'--help=me'", "takes no value"},
	{"probe -l tcp:a:1", "'-l'", "sluice help probe"},
	{"probe --jsno", "'--jsno'", "did you mean --json?"},
	{"probe all", "'all'", "sluice help probe"},
	{"echo -b uring", "'-b uring'", "did you mean io_uring?"},
	{"echo -b select", "'-b select'", "auto, io_uring or epoll"},
	{"echo -w 0", "'-w 0'", "1 to 256"},
	{"echo -w 257", "'-w 257'", "1 to 256"},
	{"echo -w -1", "'-w -1'", "1 to 256"},
	{"echo -w 2x", "'-w 2x'", "--workers 2"},
	{"echo -w 18446744073709551617", "'-w 18446744073709551617'", "1 to 256"},
	{"echo --cpus 3-1", "'--cpus 3-1'", "--cpus 0,2-5"},
	{"echo --cpus 5000", "'--cpus 5000'", "1023"},
	{"echo --max-conns 0", "'--max-conns 0'", "--max-conns 10000"},
	{"echo --max-conns 4294967297", "'--max-conns 4294967297'", "1 to 10000000"},
	{"echo --max-sessions x", "'--max-sessions x'", "--max-sessions 10000"},
	{"echo --backlog 0", "'--backlog 0'", "1 to 65535"},
	{"echo --backlog 65536", "'--backlog 65536'", "1 to 65535"},
	{"echo --connect-timeout 0", "'--connect-timeout 0'", "1ms to 1000h"},
	{"echo --connect-timeout off", "'--connect-timeout off'", "--connect-timeout 5s"},
	{"echo --connect-timeout 1001h", "'--connect-timeout 1001h'", "1000h"},
	{"echo --idle-timeout never", "'--idle-timeout never'", "or off"},
	{"echo --drain-timeout off", "'--drain-timeout off'", "--drain-timeout 10s"},
	{"echo --buffer-memory 64MB", "'--buffer-memory 64MB'", "--buffer-memory 256M"},
	{"echo --buffer-memory 4095K", "'--buffer-memory 4095K'", "4M to 1024G"},
	{"echo --buffer-memory 1025G", "'--buffer-memory 1025G'", "4M to 1024G"},
	{"echo --log-level trace", "'--log-level trace'", "error, warn, info or debug"},
	{"echo --log-format xml", "'--log-format xml'", "text or json"},
	{"echo -l tcp:a:1 -l tcp:A:1", "'-l tcp:A:1'", "given twice"},
	{"echo -l tcp:[::1]:1 -l tcp:[0::1]:1", "'-l tcp:[0::1]:1'", "given twice"},
	{"echo -l unix:/a -l unix:/a", "'-l unix:/a'", "given twice"},
	{"relay -l tcp:a:1 -t tcp:b:0", "'-t tcp:b:0'", "1 to 65535"},
	{"relay -l tcp:a:1 -t tcp:a:1", "'-t tcp:a:1'", "loop"},
	{"relay -l unix:/a -t unix:/a", "'-t unix:/a'", "loop"},
	{"relay -l tcp:0.0.0.0:80 -t tcp:127.0.0.1:80", "'-t tcp:127.0.0.1:80'", "loop"},
	{"relay -l tcp:[::]:80 -t tcp:localhost:80", "'-t tcp:localhost:80'", "loop"},
	{"relay -l udp:127.0.0.1:5 -t udp:0.0.0.0:5", "'-t udp:0.0.0.0:5'", "loop"},
	{"relay -l tcp:a:1 -t udp:b:1", "'-t udp:b:1'", "-l udp:127.0.0.1:7007"},
	{"relay -l udp:a:1 -t unix:/b", "'-t unix:/b'", "-l tcp:127.0.0.1:7007"},
	{"relay -l udp:a:1 -l tcp:a:1 -t tcp:b:1", "'-l udp:a:1'", "-t udp:127.0.0.1:53"},
	{"relay -l udp:a:1 -l unix:/a -t udp:b:1", "'-l unix:/a'", "-t tcp:127.0.0.1:80"},
};

Test(opt, refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_assert_eq(parse(refusals[i].line, &opt, error), -EINVAL, "%s", refusals[i].line);
		cr_expect(strstr(error, refusals[i].names), "%s: %s", refusals[i].line, error);
		cr_expect(strstr(error, refusals[i].remedy), "%s: %s", refusals[i].line, error);
		cr_expect_null(strchr(error, '\n'), "%s", error);
	}
}

Test(opt, errors_stay_one_short_line)
{
	static char line[2000];
	struct opt opt;
	char error[OPT_ERROR_MAX];
	char *argv[] = {(char *)"sluice", (char *)"echo", (char *)"-l",
			(char *)"tcp:a\nb\033[1m:80", NULL};

	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "echo -l tcp:", 12);
	cr_assert_eq(parse(line, &opt, error), -EINVAL);
	cr_expect(strstr(error, "xxx...'"), "%s", error);
	memcpy(line, "echo --xxxxx", 12);
	cr_assert_eq(parse(line, &opt, error), -EINVAL);
	cr_expect(strstr(error, "xxx...'"), "%s", error);
	cr_assert_eq(opt_parse(4, argv, &opt, error), -EINVAL);
	cr_expect(strstr(error, "tcp:a?b?[1m:80"), "%s", error);
}

Test(opt, too_many_addresses)
{
	char line[4000] = "relay";
	struct opt opt;
	char error[OPT_ERROR_MAX];

	for (int i = 1; i <= OPT_LISTEN_MAX; i++)
		snprintf(line + strlen(line), 60, " -l tcp:a:%d -t tcp:b:%d", i, i);
	cr_assert_eq(parse(line, &opt, error), 0, "%s", error);
	cr_expect_eq(opt.n_listen, OPT_LISTEN_MAX);
	cr_expect_eq(opt.n_target, OPT_TARGET_MAX);
	strcat(line, " -l tcp:a:1000");
	cr_assert_eq(parse(line, &opt, error), -EINVAL);
	cr_expect(strstr(error, "'-l tcp:a:1000': too many"), "%s", error);
}

Test(opt, help_and_version)
{
	static const struct {
		const char *line;
		enum opt_command command, about;
	} rows[] = {
		{"help", OPT_HELP, OPT_HELP},
		{"--help", OPT_HELP, OPT_HELP},
		{"-h", OPT_HELP, OPT_HELP},
		{"help help", OPT_HELP, OPT_HELP},
		{"help --help", OPT_HELP, OPT_HELP},
		{"help relay", OPT_HELP, OPT_RELAY},
		{"help probe", OPT_HELP, OPT_PROBE},
		{"echo --help", OPT_HELP, OPT_ECHO},
		{"discard -h", OPT_HELP, OPT_DISCARD},
		{"relay -l tcp:a:1 -h --nonsense", OPT_HELP, OPT_RELAY},
		{"probe -h", OPT_HELP, OPT_PROBE},
		{"help xdp", OPT_HELP, OPT_XDP},
		{"xdp --help", OPT_HELP, OPT_XDP},
		{"xdp -h", OPT_HELP, OPT_XDP},
		{"xdp attach eth0 --help", OPT_HELP, OPT_XDP},
		{"--version", OPT_VERSION, OPT_HELP},
		{"-V", OPT_VERSION, OPT_HELP},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct opt opt;
		char error[OPT_ERROR_MAX];

		cr_assert_eq(parse(rows[i].line, &opt, error), 0, "%s: %s", rows[i].line, error);
		cr_expect_eq(opt.command, rows[i].command, "%s", rows[i].line);
		cr_expect_eq(opt.help_about, rows[i].about, "%s", rows[i].line);
	}
}

Test(opt, help_texts_are_complete_and_narrow)
{
	static const char *const options[] = {
		"--listen",        "--backend",   "--workers",      "--cpus",
		"--max-conns",     "--backlog",   "--idle-timeout", "--drain-timeout",
		"--buffer-memory", "--log-level", "--log-format",   "--help",
		"--xdp IFACE",     "--xdp-mode",  "--xdp-rules",    "tcp:HOST:PORT",
		"unix:/path",      "127.0.0.1",
	};

	for (int about = OPT_ECHO; about <= OPT_VERSION; about++) {
		const char *text = opt_help((enum opt_command)about);
		const char *line = text;

		cr_expect(strstr(text, opt_command_name((enum opt_command)about)));
		while (*line) {
			size_t len = strcspn(line, "\n");

			cr_expect_lt(len, 80, "%.*s", (int)len, line);
			cr_expect_eq(line[len], '\n', "the last line ends");
			cr_expect_null(memchr(line, '\t', len));
			line += len + 1;
		}
		for (size_t i = 0; about <= OPT_RELAY && i < ARRAY_SIZE(options); i++)
			cr_expect(strstr(text, options[i]), "%s in help %d", options[i], about);
	}
	cr_expect(strstr(opt_help(OPT_RELAY), "--to"));
	cr_expect(strstr(opt_help(OPT_RELAY), "--connect-timeout"));
	cr_expect(strstr(opt_help(OPT_RELAY), "--max-sessions"));
	cr_expect(strstr(opt_help(OPT_PROBE), "--json"));
}
