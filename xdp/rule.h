/* SPDX-License-Identifier: MIT */
/*
 * Rules of the filter: text to struct and back, and sets of them. Touches no kernel: `sluice xdp
 * check` and the tests use it without root.
 *
 *	default pass|drop
 *	pass|drop from PREFIX [to-port PORT]
 *	pass|drop to-port PORT
 *	drop length MIN-MAX [to-port PORT]
 *	pass|drop fragments
 *	limit [from PREFIX] [to-port PORT] rate RATE [burst BURST]
 *	      per source|per prefix N[,N6]|total
 *
 * Clauses come in any order. MIN-MAX may be one number. RATE is datagrams/s, or bytes/s with a unit
 * (B, KB, MB, GB, KiB, MiB, GiB; /s may follow), and BURST is of the same sort: a tenth of a second
 * unless told, but at least a datagram, or 65,535 bytes. N, from 1, is for the family of `from`;
 * without `from` it is for IPv4, and N6, or 64, for IPv6.
 *
 * What a set means: a datagram is asked four questions - pass or drop? which limit per source?
 * which per prefix? which in total? - and each is answered by the most specific rule that has an
 * answer: the longest prefix of the destination port's own list, then the longest prefix of the
 * list for any port, then the rule for the port alone, then the default or the limit without a
 * match. A datagram that would pass has to keep within each of its limits. Before all this come
 * malformed datagrams (dropped), fragments and lengths (dropped when the payload has from MIN to
 * MAX bytes). Fragments go as `fragments` says. Where nothing says so or they pass, the first one
 * is judged like a whole datagram; of those behind it, which have no port, only what the list for
 * any port drops is dropped, and not even that with `pass fragments`.
 */
#ifndef SLUICE_XDP_RULE_H
#define SLUICE_XDP_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rule_action { RULE_PASS, RULE_DROP, RULE_LIMIT };
/* Limits are RULE_MATCH, with a match or without. */
enum rule_kind { RULE_DEFAULT, RULE_MATCH, RULE_LENGTH, RULE_FRAGMENTS };
enum rule_limit_by { RULE_BY_SOURCE, RULE_BY_PREFIX, RULE_BY_TOTAL };

enum {
	RULE_TEXT_MAX = 200,      /* buffer for rule_format */
	RULE_SET_MAX = 1 << 20,   /* rules in a set, the default included */
	RULE_LIMITS_MAX = 1024,   /* of them limits */
	RULE_LENGTHS_MAX = 4,     /* length rules of one port, and of all ports */
	RULE_FILE_MAX = 64 << 20, /* bytes of a rule file */
	RULE_LINE_MAX = 1024,     /* bytes of one line of it, without its end */
	RULE_ERROR_MAX = 320,
};

#define RULE_RATE_MAX UINT64_C(1000000000)          /* datagrams/s */
#define RULE_RATE_BYTES_MAX UINT64_C(1000000000000) /* bytes/s */
#define RULE_RATE_BYTES_MIN 1000
#define RULE_BURST_NS_MAX UINT64_C(3600000000000) /* burst / rate: an hour */

/* One rule. Unused fields are zero, so that equal rules are equal byte by byte. */
struct rule {
	uint8_t action, kind; /* enum rule_action, enum rule_kind */
	uint8_t family;       /* AF_INET, AF_INET6; 0: no `from` */
	uint8_t prefix_len;   /* of `from` */
	uint8_t addr[16];     /* of `from`: network order, IPv4 in the first four; host bits 0 */
	uint16_t port;        /* of `to-port`: 1 to 65535; 0: any */
	uint16_t length_min, length_max; /* RULE_LENGTH: bytes of UDP payload */
	uint8_t by;                      /* RULE_LIMIT: enum rule_limit_by */
	uint8_t by_prefix4,
		by_prefix6; /* RULE_BY_PREFIX: prefix lengths; 0 where `from` excludes */
	uint8_t bytes;      /* RULE_LIMIT: rate and burst are bytes, not datagrams */
	uint16_t unused;    /* no hidden padding */
	uint64_t rate;      /* RULE_LIMIT: units per second */
	uint64_t burst;     /* RULE_LIMIT: units */
};

/* Where and why a text is not a rule. line and column, in bytes, count from 1; a byte order mark at
 * the beginning of a text is not counted. */
struct rule_error {
	unsigned line, column;
	char text[RULE_ERROR_MAX]; /* what was expected, and what stands there; one line */
};

/*
 * A set: no two rules have the same match for the same question. rules[0] is always the default.
 * Begin with rule_set_init, end with rule_set_free. A zeroed set may be freed, and added to.
 */
struct rule_set {
	struct rule *rules;
	uint32_t n, capacity;
	uint32_t n_limits;
	struct rule_index *index; /* rule.c's own: finds rules by their match */
};

/* An empty set: `default pass`. 0 or -ENOMEM. */
int rule_set_init(struct rule_set *set);
void rule_set_free(struct rule_set *set);

/*
 * Adds a rule. Returns 0; 1 when the very same rule was there; -EEXIST when a rule with the same
 * match says something else (*ret_other is its index, and may be NULL); -E2BIG when a limit of
 * this header would be passed; -ENOMEM. A default replaces the default before it. The rule has to
 * be one that a text can say: its fields are not checked.
 */
int rule_set_add(struct rule_set *set, const struct rule *rule, uint32_t *ret_other);

/* Removes a rule; the others keep their order. `default X` makes place for `default pass`. 0, or
 * -ENOENT when the set has no such rule. */
int rule_set_del(struct rule_set *set, const struct rule *rule);

/*
 * Adds the rules of a text: a rule a line, # to the end of a line is a comment. Returns 0, or with
 * *error filled -EINVAL, -E2BIG (a limit of this header, those of lines and files included) or
 * -ENOMEM; the set then holds the rules before the error. Contradictions are -EINVAL; two defaults
 * in one text that contradict each other, too.
 */
int rule_set_parse(struct rule_set *set, const char *text, size_t len, struct rule_error *error);

/*
 * The same from a file, "-" for standard input, into a new set. Returns 0, or a negative errno
 * with one line in error (RULE_ERROR_MAX + PATH_MAX bytes are enough) that begins with the path
 * ("standard input" for "-"; control bytes become ?) and, for a syntax error, line and column:
 * "rules.txt:3:14: ...". *ret_set is then untouched.
 */
int rule_set_read(const char *path, struct rule_set *ret_set, char *error, size_t size);

/*
 * Rules as the words of a command line, where a rule may be one word or several:
 * { "drop to-port 19", "pass", "from", "192.0.2.1" } are two. A rule begins where a word does, so n
 * words have at most n rules. Returns how many were written to ret_rules (at most max; more are an
 * error), or -EINVAL with *error filled: line is the word, column the place in it; ret_rules then
 * has the rules before the error.
 */
int rule_parse_words(char *const words[], int n, struct rule *ret_rules, int max,
		     struct rule_error *error);

/* The canonical text of a rule; what parses to it again. Returns out (RULE_TEXT_MAX bytes). */
const char *rule_format(const struct rule *rule, char *out);

#endif
