/* SPDX-License-Identifier: MIT */
/* Frames that the kernel does not make, and programs that judge them. */
#include "peer.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TAGS_MAX = 4, TAGGED_MAX = 1400 };

static uint16_t checksum(const void *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2) {
		uint16_t word;

		memcpy(&word, (const uint8_t *)data + i, sizeof(word));
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(0xffff - ((sum + (sum >> 16)) & 0xffff));
}

static void wait_for_pong(int fd, uint8_t type, const void *id_and_sequence, bool has_ip_header)
{
	uint8_t data[256];

	for (;;) {
		ssize_t n = recv(fd, data, sizeof(data), 0);
		size_t at = has_ip_header ? (data[0] & 15) * 4u : 0;

		if (n < 0)
			peer_fail_errno("recv");
		if ((size_t)n >= at + sizeof(struct icmphdr) && data[at] == type &&
		    !memcmp(data + at + 4, id_and_sequence, 4))
			return;
	}
}

/* Headers of ICMP and ICMPv6 look the same; the kernel writes the checksum of ICMPv6. */
int peer_ping(int argc, char **argv, const struct peer_opt *opt)
{
	struct peer_addr to = peer_addr_parse(argv[1]);
	bool v6 = to.sa.sa_family == AF_INET6;
	struct icmphdr request = {.type = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO};
	int fd = socket(to.sa.sa_family, SOCK_RAW, v6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP);

	(void)argc, (void)opt;
	if (fd < 0)
		peer_fail_errno("socket");
	if (v6)
		to.v6.sin6_port = 0;
	request.un.echo.id = (uint16_t)getpid();
	request.un.echo.sequence = htons(1);
	if (!v6)
		request.checksum = checksum(&request, sizeof(request));
	if (sendto(fd, &request, sizeof(request), 0, &to.sa, to.len) != (ssize_t)sizeof(request))
		peer_fail_errno("sendto");
	wait_for_pong(fd, v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY, &request.un, !v6);
	return EXIT_SUCCESS;
}

static size_t put(uint8_t *frame, size_t at, const void *data, size_t len)
{
	memcpy(frame + at, data, len);
	return at + len;
}

/* With tags of VLAN 0 (bytes 81 00 00 00): a host takes the frame for an untagged one, whether it
 * knows VLANs or not. A UDP checksum of 0 stands for none. */
static size_t make_tagged(uint8_t *frame, const uint8_t *mac, uint64_t tags,
			  const struct peer_addr *from, const struct peer_addr *to,
			  const uint8_t *data, size_t len)
{
	static const uint8_t tag[4] = {0x81}, sender[ETHER_ADDR_LEN] = {2};
	const uint16_t type = htons(ETHERTYPE_IP);
	struct udphdr udp = {.source = from->v4.sin_port, .dest = to->v4.sin_port};
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP};
	size_t at = put(frame, 0, mac, ETHER_ADDR_LEN);

	udp.len = htons((uint16_t)(sizeof(udp) + len));
	ip.tot_len = htons((uint16_t)(sizeof(ip) + sizeof(udp) + len));
	ip.saddr = from->v4.sin_addr.s_addr;
	ip.daddr = to->v4.sin_addr.s_addr;
	ip.check = checksum(&ip, sizeof(ip));
	at = put(frame, at, sender, sizeof(sender));
	for (uint64_t i = 0; i < tags; i++)
		at = put(frame, at, tag, sizeof(tag));
	at = put(frame, at, &type, sizeof(type));
	at = put(frame, at, &ip, sizeof(ip));
	at = put(frame, at, &udp, sizeof(udp));
	return put(frame, at, data, len);
}

int peer_tagged(int argc, char **argv, const struct peer_opt *opt)
{
	uint8_t frame[2 * ETHER_ADDR_LEN + 2 + 4 * TAGS_MAX + 28 + TAGGED_MAX];
	uint8_t data[TAGGED_MAX], mac[ETHER_ADDR_LEN];
	struct peer_addr from = peer_addr_parse(argv[4]), to = peer_addr_parse(argv[5]);
	struct sockaddr_ll link = {.sll_family = AF_PACKET, .sll_halen = ETHER_ADDR_LEN};
	uint64_t tags = peer_number(argv[3]);
	size_t len = peer_number(argv[6]);
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	(void)argc;
	if (fd < 0)
		peer_fail_errno("socket");
	if (tags > TAGS_MAX || len > TAGGED_MAX)
		peer_fail("at most %d tags and %d bytes", TAGS_MAX, TAGGED_MAX);
	if (sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != ETHER_ADDR_LEN)
		peer_fail("'%s' is no MAC address", argv[2]);
	link.sll_ifindex = (int)if_nametoindex(argv[1]);
	peer_bytes(opt->send_seed, 0, data, len);
	len = make_tagged(frame, mac, tags, &from, &to, data, len);
	if (sendto(fd, frame, len, 0, (struct sockaddr *)&link, sizeof(link)) != (ssize_t)len)
		peer_fail_errno("sendto");
	return EXIT_SUCCESS;
}

static int bpf(int command, union bpf_attr *attr)
{
	int fd = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	if (fd < 0)
		peer_fail_errno("bpf");
	return fd;
}

/* Until this process ends, the interface has an XDP program that passes everything. */
int peer_occupy(int argc, char **argv, const struct peer_opt *opt)
{
	struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr program, link;

	(void)argc, (void)opt;
	memset(&program, 0, sizeof(program));
	program.prog_type = BPF_PROG_TYPE_XDP;
	program.insns = (uintptr_t)code;
	program.insn_cnt = sizeof(code) / sizeof(code[0]);
	program.license = (uintptr_t) "MIT";
	strcpy(program.prog_name, "somebody_else");
	memset(&link, 0, sizeof(link));
	link.link_create.prog_fd = (uint32_t)bpf(BPF_PROG_LOAD, &program);
	link.link_create.target_ifindex = if_nametoindex(argv[1]);
	link.link_create.attach_type = BPF_XDP;
	bpf(BPF_LINK_CREATE, &link);
	printf("ready\n");
	alarm(0);
	for (;;)
		pause();
}
