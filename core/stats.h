/* SPDX-License-Identifier: MIT */
/*
 * Counters. Each worker owns one struct stats and is its only writer; any thread may read. The list
 * below is the one place where a counter is named.
 */
#ifndef SLUICE_STATS_H
#define SLUICE_STATS_H

#include <stddef.h>
#include <stdint.h>

/* X(name, what it counts) */
#define STATS_LIST(X)                                                                    \
	X(conns_accepted, "stream connections accepted")                                 \
	X(conns_closed, "stream connections closed")                                     \
	X(bytes_in, "stream bytes received")                                             \
	X(bytes_out, "stream bytes sent")                                                \
	X(dgrams_in, "datagrams received")                                               \
	X(dgrams_out, "datagrams sent")                                                  \
	X(dgram_bytes_in, "datagram payload bytes received")                             \
	X(dgram_bytes_out, "datagram payload bytes sent")                                \
	X(sessions_opened, "UDP relay sessions opened")                                  \
	X(sessions_closed, "UDP relay sessions closed")                                  \
	X(fast_sessions, "UDP relay sessions given to the fast path")                    \
	X(fast_full, "UDP relay sessions left out of the fast path: no room there")      \
	X(fast_declined, "UDP relay sessions left out of the fast path: not possible")   \
	X(err_conn_reset, "connections ended by a reset or a transport error")           \
	X(err_connect_refused, "upstream connects refused")                              \
	X(err_connect_timeout, "upstream connects that timed out")                       \
	X(err_connect_other, "upstream connects that failed otherwise")                  \
	X(err_no_upstream, "clients reset because no upstream answered")                 \
	X(err_idle_timeout, "connections closed by the idle timeout")                    \
	X(err_drain_cut, "connections cut at the drain timeout")                         \
	X(err_buffer_evicted, "stalled connections reset to free buffer memory")         \
	X(err_accept, "accepts that failed")                                             \
	X(pause_descriptors, "times accepting paused: out of descriptors")               \
	X(pause_max_conns, "times accepting paused: --max-conns reached")                \
	X(drop_reflection, "datagrams dropped: would loop or reflect")                   \
	X(drop_session_limit, "datagrams dropped: UDP session limit")                    \
	X(drop_session_failed, "datagrams dropped: no upstream socket could be opened")  \
	X(drop_draining, "datagrams of new clients dropped while shutting down")         \
	X(drop_truncated, "datagrams dropped: longer than a receive buffer")             \
	X(drop_send_full, "datagrams dropped: socket send buffer full")                  \
	X(drop_send_error, "datagrams dropped: send failed")                             \
	X(drop_icmp, "ICMP errors reported on UDP sessions")                             \
	X(drop_receive_full, "datagrams the kernel dropped: socket receive buffer full") \
	X(buffer_waits, "times a receive had to wait for a free buffer")                 \
	X(moves_started, "times a stream turned to being moved inside the kernel")       \
	X(moves_refused, "times a stream had to be copied again: no pipe")               \
	X(turns, "event loop turns")                                                     \
	X(uring_cq_overflows, "io_uring completion queue overflows")                     \
	X(uring_stale, "io_uring completions that named a closed socket")

struct stats {
#define X(name, help) uint64_t name;
	STATS_LIST(X)
#undef X
} __attribute__((aligned(64)));

/* Adds without a bus lock: one writer, and readers see whole values. */
static inline void stats_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

struct stats_row {
	const char *name, *help;
	size_t offset; /* in struct stats */
};

/* One row a counter, in order; *ret_n says how many. Constant. */
const struct stats_row *stats_rows(size_t *ret_n);

/* Adds every counter of from (another thread's) to sum (the caller's). */
void stats_sum(struct stats *sum, const struct stats *from);

/* Sum of all err_ counters, and of all drop_ counters. */
uint64_t stats_errors(const struct stats *stats);
uint64_t stats_drops(const struct stats *stats);

/* Writes "name value" lines for all counters into out as a string, at most size bytes with the
 * terminator. Returns the length. */
size_t stats_format(const struct stats *stats, char *out, size_t size);

/* The summary at exit: three or four short lines (connections, bytes, datagrams, errors by reason
 * where not zero). Returns the length. */
size_t stats_format_summary(const struct stats *stats, double seconds, char *out, size_t size);

#endif
