/* SPDX-License-Identifier: MIT */
/* Options of the tool of bench/xdp, and the frames that its commands send. */
#include "bench/xdp_flood.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <math.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char usage_text[] =
	"usage: flood send --dev DEV --to-mac MAC [options]\n"
	"       flood count --dev DEV [options]\n"
	"       flood cost [options] NAME,PROGRAM-ID,PORT,pass|drop|sent[,restored] ...\n"
	"       flood ask [options]\n"
	"send: frames go out of DEV as fast as one core makes them; prints one line\n"
	"count: datagrams to the port of --to that arrive at DEV and end there, until a signal or\n"
	"      the end of --seconds; SIGUSR1 starts anew\n"
	"cost: each XDP program and two small ones, timed in each round by BPF_PROG_TEST_RUN\n"
	"      with a datagram to PORT; prints round,name,ns of CPU,ns as the kernel counts;\n"
	"      restored: with headers that a small program writes first, which has a row, too\n"
	"ask:  sends datagrams from an ordinary socket and counts those that come back\n"
	"  --dev DEV        the interface; its peer has to be able to receive XDP frames;\n"
	"                   cost: where a restored frame has come in\n"
	"  --to-mac MAC     the peer's address\n"
	"  --from ADDR/LEN  source; the bits behind the prefix are random (198.18.0.0/16)\n"
	"  --from-port P    source port (random)\n"
	"  --ports N        N source ports in turn, from --from-port on\n"
	"  --stamps         send: the payload begins with the time; count: take it from there\n"
	"  --answers        count: datagrams from that port instead\n"
	"  --to ADDR:PORT   destination (10.77.0.1:7007)\n"
	"  --bytes N        of UDP payload (18)\n"
	"  --rate N         datagrams per second (send: no limit; ask: 1000)\n"
	"  --seconds S      how long (2)\n"
	"  --rounds N       cost: rounds (15)\n"
	"  --repeat N       cost: runs of a program in each round (1000000)\n"
	"  --cpu N          run on this core\n";

static const struct {
	const char *name;
	int (*run)(const struct flood_opts *o);
} commands[] = {
	{"send", flood_send},
	{"count", flood_count},
	{"cost", flood_cost},
	{"ask", flood_ask},
};

int flood_fail(const char *what, int err)
{
	fprintf(stderr, "flood: %s%s%s\n", what, err ? ": " : "", err ? strerror(err) : "");
	return 1;
}

int64_t flood_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * FLOOD_NS_PER_S + ts.tv_nsec;
}

/* --- frames ---------------------------------------------------------------------------------- */

/* Adds 16-bit words to a one's complement sum (RFC 1071), an odd byte as if a zero followed. */
static uint32_t add_words(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint16_t word;

	for (; len >= 2; len -= 2, p += 2) {
		memcpy(&word, p, sizeof(word));
		sum += word;
	}
	if (len)
		sum += htons(*p << 8);
	return (sum & 0xffff) + (sum >> 16);
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

void flood_frame(const struct flood_opts *o, uint16_t port, struct flood_frame *ret_frame)
{
	struct flood_frame f = {.len = FLOOD_HEADER_BYTES + o->bytes};
	struct ethhdr eth = {.h_proto = htons(ETH_P_IP)};
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP};
	struct udphdr udp = {.dest = htons(port), .len = htons(8 + o->bytes)};
	uint32_t from = htonl(o->from), source;

	memcpy(eth.h_source, o->from_mac, sizeof(o->from_mac));
	memcpy(eth.h_dest, o->to_mac, sizeof(o->to_mac));
	ip.tot_len = htons(28 + o->bytes);
	ip.daddr = htonl(o->to);
	f.ip_sum = add_words(0, &ip, sizeof(ip));
	memset(f.data + FLOOD_HEADER_BYTES, 'x', o->bytes);
	if (o->stamps)
		memset(f.data + FLOOD_HEADER_BYTES, 0, sizeof(uint64_t));
	f.udp_sum = add_words(0, &ip.daddr, sizeof(ip.daddr));
	f.udp_sum += htons(IPPROTO_UDP) + udp.len;
	f.udp_sum = add_words(f.udp_sum, &udp, sizeof(udp));
	f.udp_sum = add_words(f.udp_sum, f.data + FLOOD_HEADER_BYTES, o->bytes);

	ip.saddr = from;
	source = (from & 0xffff) + (from >> 16);
	ip.check = fold(f.ip_sum + source);
	udp.source = htons(o->from_port);
	udp.check = fold(f.udp_sum + source + udp.source);
	if (!udp.check)
		udp.check = 0xffff;
	memcpy(f.data, &eth, sizeof(eth));
	memcpy(f.data + 14, &ip, sizeof(ip));
	memcpy(f.data + 34, &udp, sizeof(udp));
	*ret_frame = f;
}

/* --- options --------------------------------------------------------------------------------- */

static _Noreturn void bad_value(const char *name, const char *wants, const char *text)
{
	fprintf(stderr, "flood: %s wants %s, not `%s`\n", name, wants, text);
	exit(2);
}

static uint32_t parse_number(const char *name, const char *text, uint32_t min, uint32_t max)
{
	char *end, wants[64];
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || value < min || value > max) {
		snprintf(wants, sizeof(wants), "a number from %u to %u", min, max);
		bad_value(name, wants, text);
	}
	return value;
}

static int64_t parse_seconds_ns(const char *text)
{
	double value;
	char *end;

	value = strtod(text, &end);
	if (*end || end == text || !isfinite(value) || value <= 0 || value > 3600)
		bad_value("--seconds", "seconds, such as 2 or 0.5", text);
	return value * FLOOD_NS_PER_S;
}

/* ADDR, with a number behind separator when there is one. */
static uint32_t parse_addr(const char *name, const char *text, char separator, uint32_t max,
			   uint32_t *number)
{
	char addr[64], *at;
	struct in_addr in;

	snprintf(addr, sizeof(addr), "%s", text);
	at = strchr(addr, separator);
	if (at) {
		*at = '\0';
		*number = parse_number(name, at + 1, 0, max);
	}
	if (inet_pton(AF_INET, addr, &in) != 1)
		bad_value(name, "an IPv4 address", text);
	return ntohl(in.s_addr);
}

static void parse_mac(const char *text, uint8_t mac[6])
{
	int used = 0;

	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &used) != 6 ||
	    text[used])
		bad_value("--to-mac", "an Ethernet address", text);
}

static void set_option(struct flood_opts *o, int opt, const char *arg)
{
	uint32_t number;

	switch (opt) {
	case 'd':
		o->dev = arg;
		break;
	case 'm':
		parse_mac(arg, o->to_mac);
		break;
	case 'f':
		number = 32;
		o->from = parse_addr("--from", arg, '/', 32, &number);
		o->from_random = number ? (UINT64_C(1) << (32 - number)) - 1 : UINT32_MAX;
		o->from &= ~o->from_random;
		break;
	case 'p':
		o->from_port = parse_number("--from-port", arg, 1, 65535);
		break;
	case 'P':
		o->ports = parse_number("--ports", arg, 1, 32768);
		break;
	case 'S':
		o->stamps = true;
		break;
	case 'A':
		o->answers = true;
		break;
	case 't':
		number = o->to_port;
		o->to = parse_addr("--to", arg, ':', 65535, &number);
		o->to_port = number;
		break;
	case 'b':
		o->bytes = parse_number("--bytes", arg, 8, FLOOD_BYTES_MAX);
		break;
	case 'r':
		o->rate = parse_number("--rate", arg, 1, 1000000000);
		break;
	case 's':
		o->seconds_ns = parse_seconds_ns(arg);
		break;
	case 'n':
		o->rounds = parse_number("--rounds", arg, 1, 100000);
		break;
	case 'x':
		o->repeat = parse_number("--repeat", arg, 1, 1000000000);
		break;
	case 'c':
		o->cpu = parse_number("--cpu", arg, 0, CPU_SETSIZE - 1);
		break;
	case 'h':
		fputs(usage_text, stdout);
		exit(0);
	default:
		fputs(usage_text, stderr);
		exit(2);
	}
}

static struct flood_opts parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"dev", required_argument, NULL, 'd'},
		{"to-mac", required_argument, NULL, 'm'},
		{"from", required_argument, NULL, 'f'},
		{"from-port", required_argument, NULL, 'p'},
		{"ports", required_argument, NULL, 'P'},
		{"stamps", no_argument, NULL, 'S'},
		{"answers", no_argument, NULL, 'A'},
		{"to", required_argument, NULL, 't'},
		{"bytes", required_argument, NULL, 'b'},
		{"rate", required_argument, NULL, 'r'},
		{"seconds", required_argument, NULL, 's'},
		{"rounds", required_argument, NULL, 'n'},
		{"repeat", required_argument, NULL, 'x'},
		{"cpu", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct flood_opts o = {
		.from = 0xc6120000,
		.from_random = 0xffff,
		.to = 0x0a4d0001,
		.to_port = 7007,
		.bytes = 18,
		.seconds_ns = 2 * FLOOD_NS_PER_S,
		.rounds = 15,
		.repeat = 1000000,
		.cpu = -1,
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1)
		set_option(&o, opt, optarg);
	o.args = argv + optind;
	return o;
}

static int pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? flood_fail("--cpu", errno) : 0;
}

int main(int argc, char **argv)
{
	struct flood_opts o;
	size_t i;

	if (argc < 2) {
		fputs(usage_text, stderr);
		return 2;
	}
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		o = parse_options(argc - 1, argv + 1);
		setvbuf(stdout, NULL, _IOLBF, 0);
		return pin(o.cpu) ?: commands[i].run(&o);
	}
	parse_options(argc, argv); /* --help */
	fputs(usage_text, stderr);
	return 2;
}
