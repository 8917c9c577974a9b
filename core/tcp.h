/* SPDX-License-Identifier: MIT */
/*
 * What a stream connection does with its bytes: echo, discard and relay over io.h. No system calls
 * here.
 *
 * Half-close is kept: a side's end (RFC 9293 section 3.6) is passed on behind its last byte, and
 * the other direction goes on. A reset or a transport error on one side resets the other at once.
 */
#ifndef SLUICE_TCP_H
#define SLUICE_TCP_H

#include "conn.h"

/* Starts conn, whose client is attached: receives, or for a relay dials an upstream first. */
void tcp_start(struct conn *conn);

/* Handler of both sides. */
void tcp_event(struct io_handler *handler, const struct io_event *event);

/* The attempt to reach an upstream has taken too long: the next one is tried. */
void tcp_connect_timeout(struct conn *conn);

/* What is moved inside the kernel is received and sent from now on. */
void tcp_copy_again(struct conn *conn);

/* Ends conn: by FIN behind what is queued, or by reset. */
void tcp_finish(struct conn *conn);
void tcp_abort(struct conn *conn);

#endif
