/* SPDX-License-Identifier: MIT */
/* Options and commands. Owns the one thing that is global: what to name when something fails. */
#include "peer.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *doing = "start", *doing_argument = "";

static const struct command {
	const char *name, *help;
	int args_min;
	int (*run)(int argc, char **argv, const struct peer_opt *opt);
} commands[] = {
	{"connect", "ADDR ACTION...      connect, then act", 1, peer_connect},
	{"listen", "ADDR ACTION...       accept, then act", 1, peer_listen},
	{"datagram", "ADDR ACTION...     send datagrams to ADDR and receive", 1, peer_datagram},
	{"echo", "ADDR                   send datagrams back", 1, peer_answer},
	{"names", "ADDR                  answer datagrams with one's own and the other's address",
	 1, peer_answer},
	{"raw", "FROM TO BYTES           send one datagram with any source port (root)", 3,
	 peer_raw},
	{"ping", "ADDR                   send an ICMP echo request and wait for the answer (root)",
	 1, peer_ping},
	{"tagged", "IFACE MAC TAGS FROM TO BYTES  send one datagram behind VLAN tags (root)", 6,
	 peer_tagged},
	{"occupy", "IFACE                hold an interface with an XDP program (root)", 1,
	 peer_occupy},
	{"refuse", "ADDR                 hold ADDR without listening there", 1, peer_refuse},
	{"full", "ADDR                   listen with a backlog that is full", 1, peer_full},
	{"gen", "BYTES                   write the bytes of -s to standard output", 1, peer_gen},
	{"without-io_uring", "COMMAND... run a command that io_uring is forbidden to", 1,
	 peer_without_io_uring},
};

static const char usage[] =
	"peer [OPTION...] COMMAND [ARGUMENT...]\n"
	"  -n CONNS  -x ROUNDS  -s SEED, -r SEED (of what is sent, received)  -f FROM\n"
	"  -B BYTES (socket buffers)  -T SECONDS (time limit)\n"
	"Actions on streams:\n"
	"  send N    recv N    swap N (both)    send-to N (up to position N in all)\n"
	"  swap-to N (likewise, both)    recv-sent (as much as was sent)\n"
	"  fill N MS (until nothing moves for MS; N must not be reached; lost ones are let go)\n"
	"  text T    expect T  print (until the end)    urgent (one byte)\n"
	"  shut      eof (the other end has shut down)    reset    close\n"
	"  is-reset  is-gone (end or reset)    is-silent MS (nothing comes)\n"
	"Actions on datagrams:\n"
	"  send N    recv N (the last one sent)    many COUNT N (sent and received)\n"
	"  text T    print     from ADDR (source of the last)    is-silent MS\n"
	"Both: say WORD    wait (for a line on standard input)    pause MS\n";

void peer_fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "peer: %s %s: ", doing, doing_argument);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

void peer_fail_errno(const char *what)
{
	peer_fail("%s: %s", what, strerror(errno));
}

void peer_doing(const char *action, const char *argument)
{
	doing = action;
	doing_argument = argument ? argument : "";
}

uint64_t peer_number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (end == text || *end)
		peer_fail("'%s' is not a number", text);
	return value;
}

static void out_of_time(int signo)
{
	static const char text[] = "peer: out of time in: ";

	(void)signo;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ||
	    write(STDERR_FILENO, doing, strlen(doing)) < 0 || write(STDERR_FILENO, " ", 1) < 0 ||
	    write(STDERR_FILENO, doing_argument, strlen(doing_argument)) < 0 ||
	    write(STDERR_FILENO, "\n", 1) < 0)
		_exit(2);
	_exit(EXIT_FAILURE);
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int run_command(int argc, char **argv, const struct peer_opt *opt)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[0], commands[i].name))
			continue;
		if (argc - 1 < commands[i].args_min)
			peer_fail("too few arguments");
		peer_doing(argv[0], argv[1]);
		return commands[i].run(argc, argv, opt);
	}
	peer_fail("'%s': no such command", argv[0]);
}

static void print_help(void)
{
	fputs(usage, stdout);
	puts("Commands:");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		printf("  %s %s\n", commands[i].name, commands[i].help);
}

int main(int argc, char **argv)
{
	struct peer_opt opt = {
		.send_seed = 1, .recv_seed = 1, .conns = 1, .rounds = 1, .seconds = 20};
	int letter;

	while ((letter = getopt(argc, argv, "+hn:x:s:r:B:T:f:")) != -1) {
		switch (letter) {
		case 'n':
			opt.conns = peer_number(optarg);
			break;
		case 'x':
			opt.rounds = peer_number(optarg);
			break;
		case 's':
			opt.send_seed = peer_number(optarg);
			break;
		case 'r':
			opt.recv_seed = peer_number(optarg);
			break;
		case 'B':
			opt.buffer_bytes = (int)peer_number(optarg);
			break;
		case 'T':
			opt.seconds = (int)peer_number(optarg);
			break;
		case 'f':
			opt.from = optarg;
			break;
		default:
			print_help();
			return letter == 'h' ? EXIT_SUCCESS : 2;
		}
	}
	if (optind == argc)
		peer_fail("a command is missing; see peer -h");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, out_of_time);
	setvbuf(stdout, NULL, _IOLBF, 0);
	raise_descriptor_limit();
	alarm((unsigned)opt.seconds);
	return run_command(argc - optind, argv + optind, &opt);
}
