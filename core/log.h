/* SPDX-License-Identifier: MIT */
/*
 * One line an event on standard error, as text or JSON. Only main and the workers log; never once
 * per packet. A log may be used from several threads: each line is one write(2).
 */
#ifndef SLUICE_LOG_H
#define SLUICE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log {
	int fd;
	enum log_level level;
	enum log_format format;
};

/* Writes the line when level is enabled; a message longer than 1,000 bytes is cut. Text:
 * "warn: MESSAGE"; JSON: an object with time (RFC 3339, UTC), level and msg. Failing writes are
 * ignored. */
void log_write(const struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

const char *log_level_name(enum log_level level);

#endif
