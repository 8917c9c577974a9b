/* SPDX-License-Identifier: MIT */
/* The help texts: at most 79 columns, every default named, examples on the loopback addresses. */
#include "opt.h"

#define ADDRESSES                                                                         \
	"Addresses:\n"                                                                    \
	"  tcp:HOST:PORT      tcp:127.0.0.1:7007, tcp:[::1]:7007, tcp:localhost:7007\n"   \
	"  udp:HOST:PORT      udp:127.0.0.1:7007\n"                                       \
	"  unix:/path         unix:/run/sluice.sock (a stream)\n"                         \
	"  Names are resolved once, at the start. Port 0 lets the kernel pick one. The\n" \
	"  hosts 0.0.0.0 and [::] stand for every address of this machine.\n"

#define LISTEN "  -l, --listen ADDR      where to listen; may be given up to 64 times\n"

#define OPTIONS                                                                             \
	"  -b, --backend NAME     auto, io_uring or epoll (default: auto, which takes\n"    \
	"                         io_uring where the kernel allows it, else epoll)\n"       \
	"  -w, --workers N        threads, 1 to 256 (default: one for each CPU allowed,\n"  \
	"                         or for each CPU of --cpus)\n"                             \
	"      --cpus LIST        pin the workers to these CPUs, as in 0,2-5\n"             \
	"                         (default: not pinned)\n"                                  \
	"      --max-conns N      stream connections at once (default: what the limit on\n" \
	"                         descriptors allows)\n"                                    \
	"      --backlog N        connections that may wait to be accepted, 1 to 65535\n"   \
	"                         (default: 4096; the kernel caps it to its somaxconn)\n"   \
	"      --idle-timeout T   close a stream connection after T without a byte\n"       \
	"                         (default: off)\n"                                         \
	"      --drain-timeout T  at SIGTERM, wait so long for connections to finish\n"     \
	"                         (default: 10s)\n"                                         \
	"      --buffer-memory S  bytes of receive buffers of all workers together, from\n" \
	"                         4M (default: 64M for each worker)\n"                      \
	"      --log-level L      error, warn, info or debug (default: info)\n"             \
	"      --log-format F     text or json (default: text)\n"                           \
	"      --xdp IFACE        judge datagrams to the udp listeners in the driver of\n"  \
	"                         this interface; may be given up to 16 times\n"            \
	"      --xdp-mode MODE    native, generic or auto (default: auto, which takes\n"    \
	"                         native where the driver can, else generic)\n"             \
	"      --xdp-rules FILE   by these rules (default: every datagram passes); see:\n"  \
	"                         sluice help xdp\n"                                        \
	"      --fast-path WHEN   answer (echo) or forward (relay sessions) there, too,\n"   \
	"                         what passes: on, off or auto (default: auto, on in\n"      \
	"                         native mode where it can be; on fails where it\n"          \
	"                         cannot)\n"                                                 \
	"  -h, --help             print this text\n"

#define UNITS                                                                               \
	"Times are whole numbers with ms, s, m or h (s when none is written). Sizes take\n" \
	"K, M or G, in powers of 1024.\n"

#define SIGNALS                                                                           \
	"Signals: SIGTERM and SIGINT stop accepting, finish what is in flight, print a\n" \
	"summary and end; a second one ends at once. SIGUSR1 prints the counters.\n"      \
	"Exit status: 0 clean, 1 failure while running, 2 wrong command line.\n"

static const char help_overview[] =
	"sluice: a TCP and UDP server that echoes, discards or relays.\n"
	"\n"
	"  sluice echo    -l ADDR [-l ADDR ...] [options]   send back what arrives\n"
	"  sluice discard -l ADDR [-l ADDR ...] [options]   read and forget what arrives\n"
	"  sluice relay   -l ADDR [-l ADDR ...] -t ADDR [-t ADDR ...] [options]\n"
	"                                                   forward to another server\n"
	"  sluice probe   [--json]                          what this kernel offers\n"
	"  sluice xdp     SUBCOMMAND [IFACE] [options]      filter UDP in the driver\n"
	"  sluice help    [COMMAND]                         a command's options\n"
	"  sluice --version\n"
	"\n"
	"Try:\n"
	"  sluice echo -l tcp:127.0.0.1:7007 -l udp:127.0.0.1:7007\n"
	"  nc 127.0.0.1 7007                                in another terminal\n"
	"\n" ADDRESSES;

static const char help_echo[] =
	"sluice echo -l ADDR [-l ADDR ...] [options]\n"
	"\n"
	"Sends every byte of a stream and every datagram back to where it came from. A\n"
	"client that has shut down its sending side still gets all of its bytes.\n"
	"Datagrams from the ports of echo, discard, daytime, qotd and chargen are not\n"
	"answered: two such servers would send to each other for ever.\n"
	"\n"
	"  sluice echo -l tcp:127.0.0.1:7007 -l udp:127.0.0.1:7007\n"
	"  sluice echo -l tcp:[::1]:7007 --backend epoll --workers 2\n"
	"\n"
	"Options:\n" LISTEN OPTIONS "\n" UNITS "\n" ADDRESSES "\n" SIGNALS;

static const char help_discard[] =
	"sluice discard -l ADDR [-l ADDR ...] [options]\n"
	"\n"
	"Reads every byte and every datagram, counts it and forgets it.\n"
	"\n"
	"  sluice discard -l tcp:127.0.0.1:7009 -l udp:127.0.0.1:7009\n"
	"\n"
	"Options:\n" LISTEN OPTIONS "\n" UNITS "\n" ADDRESSES "\n" SIGNALS;

static const char help_relay[] =
	"sluice relay -l ADDR [-l ADDR ...] -t ADDR [-t ADDR ...] [options]\n"
	"\n"
	"Forwards both ways between each client and a target. tcp and unix listeners use\n"
	"the tcp and unix targets, udp listeners the udp ones, in turn when there are\n"
	"several. A target that refuses is passed over for the next; when none answers\n"
	"the client's connection is reset. Each UDP client has a session of its own.\n"
	"\n"
	"  sluice relay -l tcp:127.0.0.1:7007 -t tcp:127.0.0.1:80\n"
	"  sluice relay -l udp:127.0.0.1:7053 -t udp:127.0.0.1:53 --idle-timeout 30s\n"
	"  sluice relay -l tcp:127.0.0.1:7007 -t tcp:127.0.0.1:8001 -t unix:/run/app\n"
	"\n"
	"Options:\n" LISTEN
	"  -t, --to ADDR          where to forward to; may be given up to 64 times\n"
	"      --connect-timeout T\n"
	"                         give up a connect to a target after T (default: 5s)\n"
	"      --max-sessions N   UDP sessions at once (default: what the limit on\n"
	"                         descriptors allows)\n"
	"      --fast-sessions N  of these, how many --fast-path forwards, 1 to 65536;\n"
	"                         the others go through the sockets (default: all, at\n"
	"                         most 65536)\n" OPTIONS
	"  The idle timeout is also that of UDP sessions, where its default is 60s.\n"
	"\n" UNITS "\n" ADDRESSES "\n" SIGNALS;

static const char help_probe[] =
	"sluice probe [--json]\n"
	"\n"
	"Prints the kernel version, the limits that matter, each io_uring and XDP\n"
	"feature with whether it was found and why not, and what --backend auto would\n"
	"choose.\n"
	"\n"
	"Options:\n"
	"      --json             as one JSON object\n"
	"  -h, --help             print this text\n";

static const char help_xdp[] =
	"sluice xdp attach IFACE [--mode auto|native|generic] [--rules FILE]\n"
	"sluice xdp detach IFACE\n"
	"sluice xdp status [IFACE] [--json]\n"
	"sluice xdp rules  IFACE [FILE]\n"
	"sluice xdp add    IFACE RULE ...\n"
	"sluice xdp del    IFACE RULE ...\n"
	"sluice xdp stats  IFACE [--json] [--all] [--watch [SECONDS]]\n"
	"sluice xdp sessions IFACE [--json]\n"
	"sluice xdp check  FILE\n"
	"\n"
	"Judges UDP datagrams in the driver of a network interface, before the kernel\n"
	"spends more on them: what is dropped there costs least. Everything else is left\n"
	"alone. A server filters for its own listeners while it runs with --xdp IFACE.\n"
	"\n"
	"  attach   puts the filter on IFACE, where it stays until it is detached; it is\n"
	"           pinned as /sys/fs/bpf/sluice/IFACE\n"
	"  detach   takes it off\n"
	"  status   prints what is attached: to IFACE, or to every interface\n"
	"  rules    prints the rules in force, or replaces all of them at once by those\n"
	"           of FILE (- is standard input)\n"
	"  add      adds rules to those in force; all of them, or none\n"
	"  del      deletes rules that are in force; all of them, or none\n"
	"  stats    prints packets and bytes by verdict, by reason and by rule. Of more\n"
	"           than 50 rules only those that matched, unless --all is given. With\n"
	"           --watch it prints rates every SECONDS (0.1 to 3600, default: 1)\n"
	"           until it is interrupted\n"
	"  sessions prints the sessions that the fast path of a relay has (--fast-path),\n"
	"           with the datagrams that either path has relayed\n"
	"  check    says whether FILE is a valid set of rules; needs no privilege\n"
	"\n"
	"  sluice xdp attach eth0 --rules rules.txt\n"
	"  sluice xdp add eth0 drop from 192.0.2.0/24\n"
	"  sluice xdp stats eth0 --watch 2\n"
	"\n"
	"Options:\n"
	"      --mode MODE        native (in the driver), generic (behind it, on any\n"
	"                         interface) or auto (default: auto, which takes native\n"
	"                         where the driver can, else generic)\n"
	"      --rules FILE       the rules to begin with (default: default pass)\n"
	"      --json             as JSON: an object; status without IFACE: an array;\n"
	"                         stats --watch: an object a line\n"
	"  -h, --help             print this text\n"
	"\n"
	"Rules, one a line in a file; # begins a comment:\n"
	"  default pass|drop\n"
	"  pass|drop from PREFIX [to-port PORT]\n"
	"  pass|drop to-port PORT\n"
	"  drop length MIN-MAX [to-port PORT]\n"
	"  pass|drop fragments\n"
	"  limit [from PREFIX] [to-port PORT] rate RATE [burst BURST]\n"
	"        per source|per prefix N[,N6]|total\n"
	"\n"
	"The most specific rule decides: the longest prefix for the datagram's port, the\n"
	"longest for any port, the port alone, the default (default pass unless told; it\n"
	"counts as a rule). What passes has to keep within the most specific limit of\n"
	"each kind: per source, per prefix and in total. Malformed datagrams are dropped\n"
	"before all this, and so are those of which a length rule says it; lengths are\n"
	"bytes of payload. A RATE is datagrams/s, as in 1000, or bytes/s of whole frames\n"
	"with a unit, as in 10MB/s; a BURST (default: a tenth of a second) is the same\n"
	"without the second. On a command line a rule may be one word or several.\n"
	"\n"
	"Attaching needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; a filter\n"
	"that another process has attached needs CAP_SYS_ADMIN too.\n"
	"Exit status: 0 clean, 1 failure, 2 wrong command line.\n";

const char *opt_help(enum opt_command about)
{
	switch (about) {
	case OPT_ECHO:
		return help_echo;
	case OPT_DISCARD:
		return help_discard;
	case OPT_RELAY:
		return help_relay;
	case OPT_PROBE:
		return help_probe;
	case OPT_XDP:
		return help_xdp;
	default:
		return help_overview;
	}
}
