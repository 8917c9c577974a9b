/* SPDX-License-Identifier: MIT */
/* Log lines. Owns nothing; errno is left as it was, so that a caller may log before it looks. */
#include "log.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

enum { MESSAGE_MAX = 1000 };

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

/* Cuts text to at most MESSAGE_MAX bytes without splitting a UTF-8 sequence (RFC 3629). */
static void message_cut(char *text)
{
	size_t len = strlen(text);

	if (len <= MESSAGE_MAX)
		return;
	len = MESSAGE_MAX;
	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	text[len] = '\0';
}

static void time_format(char *out, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, size - len, ".%03ldZ", now.tv_nsec / NS_PER_MS);
}

/* One line with its line end, to be freed; NULL when there is no memory for it. */
static char *line_json(enum log_level level, char *message)
{
	json_t *object;
	char time[40];
	char *dump, *line = NULL;

	time_format(time, sizeof(time));
	object = json_pack("{ss ss ss}", "time", time, "level", level_names[level], "msg", message);
	if (!object) {
		/* Most likely not UTF-8, which JSON cannot carry. */
		for (char *c = message; *c; c++)
			if ((unsigned char)*c >= 0x80)
				*c = '?';
		object = json_pack("{ss ss ss}", "time", time, "level", level_names[level], "msg",
				   message);
	}
	dump = object ? json_dumps(object, JSON_COMPACT) : NULL;
	if (dump && asprintf(&line, "%s\n", dump) < 0)
		line = NULL;
	free(dump);
	json_decref(object);
	return line;
}

static char *line_text(enum log_level level, char *message)
{
	char *line;

	for (char *c = message; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return asprintf(&line, "%s: %s\n", level_names[level], message) < 0 ? NULL : line;
}

void log_write(const struct log *log, enum log_level level, const char *format, ...)
{
	char message[MESSAGE_MAX + 5]; /* one byte more than is kept shows where to cut */
	int saved_errno = errno;
	va_list args;
	char *line;

	if (level > log->level)
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	message_cut(message);
	line = log->format == LOG_JSON ? line_json(level, message) : line_text(level, message);
	if (line) {
		ssize_t ignored = write(log->fd, line, strlen(line));

		(void)ignored;
	}
	free(line);
	errno = saved_errno;
}
