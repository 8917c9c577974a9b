/* SPDX-License-Identifier: MIT */
/* Log lines, read back from a pipe. */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/util.h"

struct capture {
	struct log log;
	int read_fd;
	char text[8192];
};

static void capture_open(struct capture *c, enum log_level level, enum log_format format)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	*c = (struct capture){.log = {.fd = fds[1], .level = level, .format = format},
			      .read_fd = fds[0]};
}

/* All that was written. Nothing more can be afterwards. */
static const char *capture_close(struct capture *c)
{
	size_t len = 0;
	ssize_t n;

	close(c->log.fd);
	while ((n = read(c->read_fd, c->text + len, sizeof(c->text) - 1 - len)) > 0)
		len += (size_t)n;
	c->text[len] = '\0';
	close(c->read_fd);
	return c->text;
}

Test(log, text_lines_and_levels)
{
	static const char *const expected[] = {
		[LOG_ERROR] = "error: e 1\n",
		[LOG_WARN] = "error: e 1\nwarn: w two\n",
		[LOG_INFO] = "error: e 1\nwarn: w two\ninfo: i\n",
		[LOG_DEBUG] = "error: e 1\nwarn: w two\ninfo: i\ndebug: d\n",
	};

	for (size_t level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		struct capture c;

		capture_open(&c, (enum log_level)level, LOG_TEXT);
		log_write(&c.log, LOG_ERROR, "e %d", 1);
		log_write(&c.log, LOG_WARN, "w %s", "two");
		log_write(&c.log, LOG_INFO, "i");
		log_write(&c.log, LOG_DEBUG, "d");
		cr_expect_str_eq(capture_close(&c), expected[level]);
	}
}

Test(log, level_names)
{
	cr_expect_str_eq(log_level_name(LOG_ERROR), "error");
	cr_expect_str_eq(log_level_name(LOG_WARN), "warn");
	cr_expect_str_eq(log_level_name(LOG_INFO), "info");
	cr_expect_str_eq(log_level_name(LOG_DEBUG), "debug");
}

Test(log, text_is_one_line_whatever_the_message)
{
	struct capture c;

	capture_open(&c, LOG_INFO, LOG_TEXT);
	log_write(&c.log, LOG_INFO, "a\nb\r\tc\033[1m\x7f");
	log_write(&c.log, LOG_INFO, "%s", "");
	cr_expect_str_eq(capture_close(&c), "info: a b  c [1m \ninfo: \n");
}

static void expect_json(const char *line, const char *level, const char *message)
{
	json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	const char *time = json_string_value(json_object_get(object, "time"));
	int year, month, day, hour, minute, second, ms, end = 0;

	cr_assert_not_null(object, "%s", line);
	cr_expect_eq(json_object_size(object), 3);
	cr_expect_str_eq(json_string_value(json_object_get(object, "level")), level);
	cr_expect_str_eq(json_string_value(json_object_get(object, "msg")), message);
	cr_expect_eq(sscanf(time, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour,
			    &minute, &second, &ms, &end),
		     7);
	cr_expect_eq((size_t)end, strlen(time), "%s", time);
	json_decref(object);
}

Test(log, json_lines)
{
	static const struct {
		const char *message, *expected;
	} rows[] = {
		{"plain", "plain"},
		{"", ""},
		{"quote \" backslash \\ slash /", "quote \" backslash \\ slash /"},
		{"two\nlines\ttab \001", "two\nlines\ttab \001"},
		{"h\xc3\xa9 \xe2\x82\xac", "h\xc3\xa9 \xe2\x82\xac"},
		{"not utf-8: \xff\xc3", "not utf-8: ??"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct capture c;
		const char *text;

		capture_open(&c, LOG_WARN, LOG_JSON);
		log_write(&c.log, LOG_INFO, "not enabled");
		log_write(&c.log, LOG_WARN, "%s", rows[i].message);
		text = capture_close(&c);
		cr_expect_eq(strchr(text, '\n'), text + strlen(text) - 1, "%s", text);
		expect_json(text, "warn", rows[i].expected);
	}
}

Test(log, long_messages_are_cut)
{
	struct capture c;
	char message[3000], expected[1200];

	memset(message, 'x', sizeof(message));
	message[sizeof(message) - 1] = '\0';
	snprintf(expected, sizeof(expected), "error: %.1000s\n", message);
	capture_open(&c, LOG_INFO, LOG_TEXT);
	log_write(&c.log, LOG_ERROR, "%s", message);
	cr_expect_str_eq(capture_close(&c), expected);

	message[1000] = '\0';
	capture_open(&c, LOG_INFO, LOG_TEXT);
	log_write(&c.log, LOG_ERROR, "%s", message);
	cr_expect_str_eq(capture_close(&c), expected);

	/* The three bytes of the euro sign straddle the border: none of them is kept. */
	strcpy(message + 998, "\xe2\x82\xac and more");
	message[998] = '\xe2';
	capture_open(&c, LOG_INFO, LOG_JSON);
	log_write(&c.log, LOG_ERROR, "%s", message);
	message[998] = '\0';
	expect_json(capture_close(&c), "error", message);
}

Test(log, failing_writes_change_nothing)
{
	struct log log = {.fd = -1, .level = LOG_DEBUG, .format = LOG_TEXT};

	errno = ENOENT;
	log_write(&log, LOG_ERROR, "into the void");
	cr_expect_eq(errno, ENOENT);
	log.format = LOG_JSON;
	log_write(&log, LOG_ERROR, "into the void");
	cr_expect_eq(errno, ENOENT);
}

enum { WRITERS = 4, WRITER_LINES = 25 };

static void *writer(void *arg)
{
	const struct log *log = arg;

	for (int i = 0; i < WRITER_LINES; i++)
		log_write(log, LOG_INFO, "%s", "the quick brown fox");
	return NULL;
}

Test(log, lines_of_threads_stay_whole)
{
	struct capture c;
	pthread_t threads[WRITERS];
	char *line, *rest;
	int n = 0;

	capture_open(&c, LOG_INFO, LOG_TEXT);
	for (int i = 0; i < WRITERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, writer, &c.log), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	capture_close(&c);
	for (line = strtok_r(c.text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		cr_assert_str_eq(line, "info: the quick brown fox");
		n++;
	}
	cr_assert_eq(n, WRITERS * WRITER_LINES);
}
