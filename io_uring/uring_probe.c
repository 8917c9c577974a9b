/* SPDX-License-Identifier: MIT */
/* Finds out what io_uring can do here by trying it: version numbers lie where features are
 * backported or forbidden. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/util.h"
#include "io_uring/uring.h"
#include "io_uring/uring_compat.h"

const struct uring_feature uring_features[] = {
	{"defer-taskrun", URING_DEFER_TASKRUN, "6.1",
	 "completions run when the worker waits, not in between"},
	{"coop-taskrun", URING_COOP_TASKRUN, "5.19",
	 "completions do not interrupt; used when the former is missing"},
	{"registered-ring", URING_REGISTERED_RING, "5.18",
	 "the ring's descriptor is looked up once"},
	{"skip-sent", URING_SKIP_SENT, "5.17", "no completion for a send that succeeds at once"},
	{"recv-limit", URING_RECV_LIMIT, "6.17", "a bulk receive repeats, and ends by itself"},
	{"fixed-files", URING_FIXED_FILES, "6.14", "busy senders' files are looked up in the ring"},
};
const unsigned uring_features_n = ARRAY_SIZE(uring_features);

struct trial {
	struct io_uring ring;
	struct io_uring_buf_ring *bufs;
	uint8_t data[2][256];
	int pair[2];
};

static int try_ring(unsigned flags)
{
	struct io_uring_params params = {.flags = flags};
	struct io_uring ring;
	int err = io_uring_queue_init_params(8, &ring, &params);

	if (!err)
		io_uring_queue_exit(&ring);
	return err;
}

static int try_opcode(struct io_uring *ring, int op)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	int err = probe && io_uring_opcode_supported(probe, op) ? 0 : -EOPNOTSUPP;

	io_uring_free_probe(probe);
	return err;
}

static int try_registered(struct io_uring *ring)
{
	int n = io_uring_register_ring_fd(ring);

	return n == 1 ? 0 : n < 0 ? n : -EINVAL;
}

static int try_buffer_ring(struct trial *t)
{
	struct io_uring_buf_reg reg = {.ring_entries = 2, .bgid = 7};
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (at == MAP_FAILED)
		return -ENOMEM;
	reg.ring_addr = (uintptr_t)at;
	err = io_uring_register_buf_ring(&t->ring, &reg, 0);
	if (err) {
		munmap(at, 4096);
		return err;
	}
	t->bufs = at;
	io_uring_buf_ring_init(t->bufs);
	for (int i = 0; i < 2; i++)
		io_uring_buf_ring_add(t->bufs, t->data[i], sizeof(t->data[i]), (unsigned short)i, 1,
				      i);
	io_uring_buf_ring_advance(t->bufs, 2);
	return 0;
}

/* One byte must arrive in a provided buffer, and the request stay armed. */
static int try_multishot(struct trial *t, bool message)
{
	static struct msghdr layout;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);
	struct __kernel_timespec ts = {.tv_sec = 1};
	struct io_uring_cqe *cqe;
	int err;

	if (!t->bufs || !sqe)
		return -EINVAL;
	if (message)
		io_uring_prep_recvmsg_multishot(sqe, t->pair[0], &layout, 0);
	else
		io_uring_prep_recv_multishot(sqe, t->pair[0], NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 7;
	if (write(t->pair[1], "x", 1) != 1)
		return -errno;
	err = io_uring_submit_and_wait_timeout(&t->ring, &cqe, 1, &ts, NULL);
	if (err < 0)
		return err;
	err = cqe->res < 0 ? cqe->res : cqe->flags & IORING_CQE_F_MORE ? 0 : -EINVAL;
	io_uring_cqe_seen(&t->ring, cqe);
	return err;
}

static const char *explain(int err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		return "refused: sysctl kernel.io_uring_disabled, or a seccomp profile";
	case -ENOSYS:
		return "this kernel is built without io_uring, or a seccomp profile hides it";
	case -EINVAL:
	case -EOPNOTSUPP:
		return "this kernel is too old for it";
	case -ENOMEM:
		return "out of memory, or over RLIMIT_MEMLOCK";
	default:
		return strerror(-err);
	}
}

struct rows {
	struct uring_probe_row *rows;
	size_t n;
};

static int add(struct rows *r, const char *name, const char *since, bool required, int err)
{
	struct uring_probe_row *row = &r->rows[r->n++];

	*row = (struct uring_probe_row){
		.name = name, .since = since, .required = required, .found = !err};
	if (err)
		snprintf(row->why, sizeof(row->why), "%s", explain(err));
	return err;
}

static void probe_ring(struct rows *r, struct trial *t)
{
	add(r, "op-accept", "5.5", true, try_opcode(&t->ring, IORING_OP_ACCEPT));
	add(r, "op-connect", "5.5", true, try_opcode(&t->ring, IORING_OP_CONNECT));
	add(r, "op-send", "5.6", true, try_opcode(&t->ring, IORING_OP_SEND));
	add(r, "op-sendmsg", "5.3", true, try_opcode(&t->ring, IORING_OP_SENDMSG));
	add(r, "op-poll-add", "5.1", true, try_opcode(&t->ring, IORING_OP_POLL_ADD));
	add(r, "op-async-cancel", "5.5", true, try_opcode(&t->ring, IORING_OP_ASYNC_CANCEL));
	add(r, "submit-stable", "5.5", true,
	    t->ring.features & IORING_FEAT_SUBMIT_STABLE ? 0 : -EINVAL);
	add(r, "no-drop", "5.5", true, t->ring.features & IORING_FEAT_NODROP ? 0 : -EINVAL);
	add(r, "skip-sent", "5.17", false, t->ring.features & IORING_FEAT_CQE_SKIP ? 0 : -EINVAL);
	add(r, "registered-ring", "5.18", false, try_registered(&t->ring));
	add(r, "fixed-files", "6.14", false,
	    t->ring.features & IORING_FEAT_RW_ATTR ? io_uring_register_files_sparse(&t->ring, 8)
						   : -EINVAL);
	add(r, "buffer-ring", "5.19", true, try_buffer_ring(t));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, t->pair) == 0) {
		add(r, "recv-multishot", "6.0", true, try_multishot(t, false));
		close(t->pair[0]);
		close(t->pair[1]);
	}
	io_uring_queue_exit(&t->ring);
	if (t->bufs)
		munmap(t->bufs, 4096);
}

size_t uring_probe(struct uring_probe_row rows[URING_PROBE_ROWS_MAX])
{
	static const unsigned defer = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
				      IORING_SETUP_TASKRUN_FLAG;
	struct trial t = {0}, message = {0};
	struct rows r = {.rows = rows};
	struct io_uring_params params = {0};

	if (add(&r, "setup", "5.1", true, io_uring_queue_init_params(8, &t.ring, &params)))
		return r.n;
	add(&r, "submit-all", "5.18", true, try_ring(IORING_SETUP_SUBMIT_ALL));
	add(&r, "coop-taskrun", "5.19", false,
	    try_ring(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG));
	add(&r, "defer-taskrun", "6.1", true, try_ring(defer));
	probe_ring(&r, &t);
	memset(&params, 0, sizeof(params));
	if (!io_uring_queue_init_params(8, &message.ring, &params)) {
		int err = try_buffer_ring(&message);

		if (!err &&
		    !(err = socketpair(AF_UNIX, SOCK_DGRAM, 0, message.pair) ? -errno : 0)) {
			err = try_multishot(&message, true);
			close(message.pair[0]);
			close(message.pair[1]);
		}
		add(&r, "recvmsg-multishot", "6.0", true, err);
		io_uring_queue_exit(&message.ring);
		if (message.bufs)
			munmap(message.bufs, 4096);
	}
	return r.n;
}

int uring_check(char *why)
{
	static const char refused[] = "io_uring is %.95s; allow it (sysctl -w "
				      "kernel.io_uring_disabled=0, or a container profile that "
				      "has io_uring_setup), or use -b epoll";
	static const char lacking[] = "io_uring lacks %s of Linux %s (%.95s); run Linux 6.1 or "
				      "newer, or use -b epoll";
	struct uring_probe_row rows[URING_PROBE_ROWS_MAX];
	size_t n = uring_probe(rows);

	for (size_t i = 0; i < n; i++) {
		const struct uring_probe_row *row = &rows[i];

		if (row->found || !row->required)
			continue;
		if (i == 0)
			snprintf(why, URING_WHY_MAX, refused, row->why);
		else
			snprintf(why, URING_WHY_MAX, lacking, row->name, row->since, row->why);
		return -EOPNOTSUPP;
	}
	return 0;
}
