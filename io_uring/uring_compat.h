/* SPDX-License-Identifier: MIT */
/* Constants of newer kernels that liburing 2.3's headers lack; linux/io_uring.h is their source. */
#ifndef SLUICE_URING_COMPAT_H
#define SLUICE_URING_COMPAT_H

#include <liburing.h>
#include <stdint.h>

#ifndef IORING_FEAT_CQE_SKIP
#define IORING_FEAT_CQE_SKIP (1U << 11) /* 5.17 */
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13) /* 6.1 */
#endif
#ifndef IORING_RECVSEND_POLL_FIRST
#define IORING_RECVSEND_POLL_FIRST (1U << 0) /* 5.19 */
#endif
#ifndef IORING_ASYNC_CANCEL_ANY
#define IORING_ASYNC_CANCEL_ANY (1U << 2) /* 5.19 */
#endif

/* Tells of Linux 6.14 (and with it of what 6.13 brought). */
#ifndef IORING_FEAT_RW_ATTR
#define IORING_FEAT_RW_ATTR (1U << 16)
#endif

/* Multishot receive: total bytes after which it ends, 6.17. Shares its place with file_index. */
static inline void uring_set_recv_limit(struct io_uring_sqe *sqe, uint32_t bytes)
{
	sqe->file_index = bytes;
}

/* Where a send goes, 6.1. addr has to stay until the request is submitted. */
static inline void uring_set_send_addr(struct io_uring_sqe *sqe, const void *addr, uint16_t len)
{
	sqe->addr2 = (uintptr_t)addr;
	sqe->addr_len = len;
}

#endif
