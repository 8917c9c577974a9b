/* SPDX-License-Identifier: MIT */
/* `sluice xdp`: the subcommands. Each reads what it needs before it changes anything. */
#include "xdp/command.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "core/util.h"
#include "xdp/command_priv.h"

enum {
	LIST_MAX = 4096,
	LOCK_TRIES = 500, /* 10 ms each */
};

int command_fail(int status, const char *format, ...)
{
	char text[PATH_MAX + 2 * COMMAND_ERROR_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	fprintf(stderr, "sluice: %s\n", text);
	return status;
}

int command_flush(void)
{
	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return COMMAND_OK;
	if (errno == EPIPE)
		return COMMAND_OK;
	return command_fail(COMMAND_FAILED, "standard output: %s",
			    errno ? strerror(errno) : "could not be written");
}

/* The end of everything that calls xdp_*: error is what it left. */
static int finish(int r, const char *error)
{
	return r < 0 ? command_fail(COMMAND_FAILED, "%s", error) : command_flush();
}

static const char *plural(uint32_t n)
{
	return n == 1 ? "" : "s";
}

/*
 * Held while filters are attached, changed and removed, so that two who do so at once wait for each
 * other. Not for ever: where anyone may open the folder, anyone may hold the lock, and the kernel
 * itself lets nobody undo what he has not seen (BPF_F_REPLACE). Returns what unlock takes.
 */
static int lock(void)
{
	const struct timespec pause = {.tv_nsec = 10 * NS_PER_MS};
	int fd = open(XDP_BPFFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB); i++)
		nanosleep(&pause, NULL);
	return fd;
}

static void unlock(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int read_rules(const char *path, struct rule_set *ret_set)
{
	char error[RULE_ERROR_MAX + PATH_MAX];

	if (rule_set_read(path, ret_set, error, sizeof(error)) < 0)
		return command_fail(COMMAND_FAILED, "%s", error);
	return COMMAND_OK;
}

static int run_attach(const struct command_args *args)
{
	struct xdp_conf conf = {.ifname = args->ifname, .mode = args->mode, .pin = true};
	struct rule_set set = {0};
	struct xdp_info info;
	struct xdp *xdp;
	char error[XDP_ERROR_MAX], path[XDP_PATH_MAX];
	int r, locked;

	if (args->rules && read_rules(args->rules, &set))
		return COMMAND_FAILED;
	if (!args->rules && rule_set_init(&set) < 0)
		return command_fail(COMMAND_FAILED, "out of memory");
	conf.rules = &set;
	locked = lock();
	r = xdp_attach(&conf, &xdp, error);
	unlock(locked);
	rule_set_free(&set);
	if (r < 0)
		return finish(r, error);
	xdp_info(xdp, &info);
	xdp_close(xdp);
	printf("attached %s mode=%s rules=%" PRIu32 " pinned=%s\n", args->ifname,
	       xdp_mode_name(info.mode), info.n_rules, xdp_pin_path(args->ifname, path));
	if (info.native_err)
		fprintf(stderr,
			"sluice: %s: native mode was not possible (%s); generic mode is used, "
			"which is slower\n",
			args->ifname, strerror(-info.native_err));
	return command_flush();
}

static int run_detach(const struct command_args *args)
{
	char error[XDP_ERROR_MAX];
	int locked = lock(), r = xdp_detach(args->ifname, error);

	unlock(locked);
	if (r == 0)
		printf("detached %s\n", args->ifname);
	return finish(r, error);
}

static int status_one(const struct command_args *args)
{
	struct xdp_info info;
	struct xdp *xdp;
	char error[XDP_ERROR_MAX];

	if (xdp_open(args->ifname, &xdp, error) < 0)
		return command_fail(COMMAND_FAILED, "%s", error);
	xdp_info(xdp, &info);
	xdp_close(xdp);
	if (args->json) {
		json_t *json = command_info_json(&info);

		json_dumpf(json, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(json);
	} else {
		command_print_info(&info);
	}
	return command_flush();
}

/* Filters that go while they are listed are none. */
static int status_all(bool json)
{
	static char names[LIST_MAX][IF_NAMESIZE];
	json_t *list = json_array();
	char error[XDP_ERROR_MAX];
	int n = xdp_list(names, LIST_MAX, error), shown = 0, failures = n < 0;

	for (int i = 0; i < n; i++) {
		struct xdp_info info;
		struct xdp *xdp;
		int r = xdp_open(names[i], &xdp, error);

		if (r < 0 && r != -ENOENT)
			failures += command_fail(1, "%s", error);
		if (r < 0)
			continue;
		xdp_info(xdp, &info);
		xdp_close(xdp);
		shown++;
		if (json)
			json_array_append_new(list, command_info_json(&info));
		else
			command_print_info(&info);
	}
	if (json && n >= 0) {
		json_dumpf(list, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (!shown && !failures) {
		puts("no filter is attached in this network namespace");
	}
	json_decref(list);
	if (n < 0)
		return finish(n, error);
	return failures ? COMMAND_FAILED : command_flush();
}

static int run_status(const struct command_args *args)
{
	return args->ifname ? status_one(args) : status_all(args->json);
}

static int print_rules(const char *ifname)
{
	struct rule_set set;
	struct xdp *xdp;
	char text[RULE_TEXT_MAX], error[XDP_ERROR_MAX];
	int r = xdp_open(ifname, &xdp, error);

	if (r < 0)
		return finish(r, error);
	r = xdp_rules(xdp, &set, error);
	xdp_close(xdp);
	if (r < 0)
		return finish(r, error);
	for (uint32_t i = 0; i < set.n; i++)
		puts(rule_format(&set.rules[i], text));
	rule_set_free(&set);
	return command_flush();
}

static int run_rules(const struct command_args *args)
{
	struct rule_set set;
	struct xdp *xdp = NULL;
	char error[XDP_ERROR_MAX];
	int locked, r;

	if (!args->n_rest)
		return print_rules(args->ifname);
	if (read_rules(args->rest[0], &set))
		return COMMAND_FAILED;
	locked = lock();
	r = xdp_open(args->ifname, &xdp, error);
	if (r == 0)
		r = xdp_replace(xdp, &set, error);
	unlock(locked);
	xdp_close(xdp);
	if (r == 0)
		printf("%s: %" PRIu32 " rule%s in force\n", args->ifname, set.n, plural(set.n));
	rule_set_free(&set);
	return finish(r, error);
}

/* A change of the set in force by the rules of a command line. */
struct edit {
	const char *ifname;
	bool add;
	struct rule *rules;
	int n;
	struct rule_set set;
	bool changed;
};

static int fail_contradiction(const struct edit *edit, const struct rule *rule,
			      const struct rule *other, bool in_force)
{
	char text[RULE_TEXT_MAX], text_other[RULE_TEXT_MAX];

	rule_format(rule, text);
	rule_format(other, text_other);
	if (!in_force)
		return command_fail(COMMAND_FAILED,
				    "'%s' contradicts '%s' of the same command; leave one out",
				    text, text_other);
	return command_fail(COMMAND_FAILED,
			    "'%s' contradicts '%s', which is in force; delete that first: sluice "
			    "xdp del %s %s",
			    text, text_other, edit->ifname, text_other);
}

static int add_rules(struct edit *edit)
{
	const uint32_t in_force = edit->set.n;
	const struct rule *given_default = NULL;

	for (int i = 0; i < edit->n; i++) {
		const struct rule *rule = &edit->rules[i];
		uint32_t other = 0;
		int r;

		if (rule->kind == RULE_DEFAULT) {
			if (given_default && given_default->action != rule->action)
				return fail_contradiction(edit, rule, given_default, false);
			given_default = rule;
		}
		r = rule_set_add(&edit->set, rule, &other);
		if (r == -EEXIST)
			return fail_contradiction(edit, rule, &edit->set.rules[other],
						  other < in_force);
		if (r == -E2BIG)
			return command_fail(COMMAND_FAILED,
					    "a set has at most %d rules, %d limits and %d lengths "
					    "for a port; delete some first",
					    RULE_SET_MAX, RULE_LIMITS_MAX, RULE_LENGTHS_MAX);
		if (r < 0)
			return command_fail(COMMAND_FAILED, "out of memory");
		edit->changed |= r == 0;
	}
	return COMMAND_OK;
}

static int del_rules(struct edit *edit)
{
	char text[RULE_TEXT_MAX];

	for (int i = 0; i < edit->n; i++) {
		if (rule_set_del(&edit->set, &edit->rules[i]) < 0)
			return command_fail(
				COMMAND_FAILED,
				"'%s' is not in force, or given twice; for those in force: sluice "
				"xdp rules %s",
				rule_format(&edit->rules[i], text), edit->ifname);
		edit->changed = true;
	}
	return COMMAND_OK;
}

static int edit_rules(struct edit *edit)
{
	struct xdp *xdp;
	char error[XDP_ERROR_MAX];
	int r = xdp_open(edit->ifname, &xdp, error), status;

	if (r < 0)
		return finish(r, error);
	r = xdp_rules(xdp, &edit->set, error);
	if (r < 0) {
		xdp_close(xdp);
		return finish(r, error);
	}
	status = edit->add ? add_rules(edit) : del_rules(edit);
	if (status == COMMAND_OK) {
		if (edit->changed)
			r = xdp_replace(xdp, &edit->set, error);
		if (r == 0)
			printf("%s: %" PRIu32 " rule%s in force\n", edit->ifname, edit->set.n,
			       plural(edit->set.n));
		status = finish(r, error);
	}
	rule_set_free(&edit->set);
	xdp_close(xdp);
	return status;
}

static int fail_words(const struct command_args *args, bool add, const struct rule_error *why)
{
	const char *word = why->line <= (unsigned)args->n_rest ? args->rest[why->line - 1] : "";
	const char *quote = strchr(word, ' ') ? "'" : NULL; /* else the text has it */
	size_t len = strlen(why->text);

	return command_fail(COMMAND_MISUSED, "xdp %s: %s%.120s%s%s%s sluice help xdp",
			    add ? "add" : "del", quote ? quote : "", quote ? word : "",
			    quote ? "': " : "", why->text,
			    len && why->text[len - 1] == '?' ? " See:" : "; see:");
}

static int run_edit(const struct command_args *args, bool add)
{
	struct edit edit = {.ifname = args->ifname, .add = add};
	struct rule_error why = {.line = 1};
	int status, locked;

	edit.rules = calloc((size_t)args->n_rest, sizeof(*edit.rules));
	if (!edit.rules)
		return command_fail(COMMAND_FAILED, "out of memory");
	edit.n = rule_parse_words(args->rest, args->n_rest, edit.rules, args->n_rest, &why);
	if (edit.n <= 0) {
		free(edit.rules);
		return edit.n ? fail_words(args, add, &why)
			      : command_fail(COMMAND_MISUSED,
					     "a rule is missing; see: sluice help xdp");
	}
	locked = lock();
	status = edit_rules(&edit);
	unlock(locked);
	free(edit.rules);
	return status;
}

static int run_add(const struct command_args *args)
{
	return run_edit(args, true);
}

static int run_del(const struct command_args *args)
{
	return run_edit(args, false);
}

static int run_stats(const struct command_args *args)
{
	struct xdp_stats stats = {0};
	struct xdp_info info;
	struct xdp *xdp;
	char error[XDP_ERROR_MAX];
	int r;

	if (args->watch_ns)
		return command_watch(args);
	r = xdp_open(args->ifname, &xdp, error);
	if (r < 0)
		return finish(r, error);
	r = xdp_read(xdp, &stats, error);
	xdp_info(xdp, &info);
	xdp_close(xdp);
	if (r == 0 && args->json)
		command_print_stats_json(&info, &stats);
	else if (r == 0)
		command_print_stats(&stats, args->all);
	xdp_stats_free(&stats);
	return finish(r, error);
}

static int run_sessions(const struct command_args *args)
{
	struct xdp_session_row *rows = NULL;
	struct xdp *xdp;
	char error[XDP_ERROR_MAX];
	int n = xdp_open(args->ifname, &xdp, error);

	if (n < 0)
		return finish(n, error);
	n = xdp_sessions_read(xdp, &rows, error);
	xdp_close(xdp);
	if (n >= 0 && args->json)
		command_print_sessions_json(rows, n);
	else if (n >= 0)
		command_print_sessions(rows, n);
	free(rows);
	return finish(MIN(n, 0), error);
}

static int run_check(const struct command_args *args)
{
	struct rule_set set;

	if (read_rules(args->rest[0], &set))
		return COMMAND_FAILED;
	printf("%s: %" PRIu32 " rule%s, %" PRIu32 " limit%s\n", args->rest[0], set.n, plural(set.n),
	       set.n_limits, plural(set.n_limits));
	rule_set_free(&set);
	return command_flush();
}

static const struct command commands[] = {
	{"attach", "IFACE [--mode auto|native|generic] [--rules FILE]", 1, 1, run_attach},
	{"detach", "IFACE", 1, 1, run_detach},
	{"status", "[IFACE] [--json]", 0, 1, run_status},
	{"rules", "IFACE [FILE]", 1, 2, run_rules},
	{"add", "IFACE RULE ...", 2, INT_MAX, run_add},
	{"del", "IFACE RULE ...", 2, INT_MAX, run_del},
	{"stats", "IFACE [--json] [--all] [--watch [SECONDS]]", 1, 1, run_stats},
	{"sessions", "IFACE [--json]", 1, 1, run_sessions},
	{"check", "FILE", 1, 1, run_check},
};

static int fail_command(const char *word)
{
	const char *nearest =
		command_nearest(word, &commands[0].name, ARRAY_SIZE(commands), sizeof(commands[0]));

	if (nearest)
		return command_fail(COMMAND_MISUSED,
				    "xdp: '%.120s': no such subcommand; did you mean: sluice xdp "
				    "%s?",
				    word, nearest);
	return command_fail(COMMAND_MISUSED,
			    "xdp: '%.120s': no such subcommand; there are attach, detach, status, "
			    "rules, add, del, stats, sessions and check; see: sluice help xdp",
			    word);
}

int xdp_command(int argc, char *const argv[])
{
	const char *word = argc > 0 ? argv[0] : "";
	struct command_args args;
	char error[COMMAND_ERROR_MAX];
	int status;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		int r;

		if (strcmp(word, commands[i].name) != 0)
			continue;
		r = command_parse(&commands[i], argc - 1, argv + 1, &args, error);
		if (r < 0)
			return command_fail(r == -ENOMEM ? COMMAND_FAILED : COMMAND_MISUSED, "%s",
					    error);
		status = commands[i].run(&args);
		free(args.rest);
		return status;
	}
	return fail_command(word);
}
