/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer of addresses. Whatever the text: it is refused with a reason, or what came out can be
 * written and read back. Only numbers are resolved, which asks no name server.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/addr.h"

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool spec_same(const struct addr_spec *a, const struct addr_spec *b)
{
	return a->kind == b->kind && a->port == b->port && !strcmp(a->host, b->host);
}

static struct addr_spec parse_again(const char *text)
{
	struct addr_spec spec;
	const char *why;

	CHECK(addr_parse(text, &spec, &why) == 0);
	return spec;
}

static void check_spec(const struct addr_spec *spec)
{
	static const char *const names[] = {"tcp", "udp", "unix"};
	char text[ADDR_HOST_MAX + 20];
	struct addr_spec again;
	bool v6 = strchr(spec->host, ':') && spec->kind != ADDR_UNIX;

	if (spec->kind == ADDR_UNIX)
		snprintf(text, sizeof(text), "unix:%s", spec->host);
	else
		snprintf(text, sizeof(text), v6 ? "%s:[%s]:%u" : "%s:%s:%u", names[spec->kind],
			 spec->host, spec->port);
	again = parse_again(text);
	CHECK(spec_same(spec, &again));
}

static void check_number(const struct addr_spec *spec)
{
	struct addr addr, again;
	struct addr_spec canonical;
	struct in6_addr number;
	const char *why;
	char text[ADDR_TEXT_MAX], twice[ADDR_TEXT_MAX];

	if (spec->kind != ADDR_UNIX && inet_pton(AF_INET, spec->host, &number) != 1 &&
	    inet_pton(AF_INET6, spec->host, &number) != 1)
		return;
	CHECK(addr_resolve(spec, &addr, 1, &why) == 1);
	CHECK(addr.kind == spec->kind && addr_port(&addr) == spec->port);
	canonical = parse_again(addr_format(&addr, text));
	CHECK(addr_resolve(&canonical, &again, 1, &why) == 1);
	CHECK(!memcmp(&addr, &again, sizeof(addr)));
	CHECK(!strcmp(addr_format(&again, twice), text));
	CHECK(spec->kind == ADDR_UNIX || addr_inet_equal(&addr.inet, &again.inet));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct addr_spec spec;
	const char *why = NULL;

	memcpy(text, data, size);
	text[size] = '\0';
	if (addr_parse(text, &spec, &why) == 0) {
		check_spec(&spec);
		check_number(&spec);
	} else {
		CHECK(why && *why);
	}
	free(text);
	return 0;
}
