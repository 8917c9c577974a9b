/* SPDX-License-Identifier: MIT */
/* Listeners and dials: how connections begin, and how they do not. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "contract.h"

enum { BACKLOG = 64 };

static struct end *listener_new(struct rig *rig, enum net net, struct addr *ret_addr)
{
	struct end *end = end_new(rig);
	int fd = rig->world->listen(rig, net, BACKLOG, ret_addr);

	check(end_attach(end, fd, IO_LISTENER));
	return end;
}

static void connect_some(struct rig *rig, const struct addr *addr, uint32_t n)
{
	while (n--) {
		struct peer *peer = peer_new(rig);

		check(peer_connect(peer, addr));
	}
}

/* ---- accepting ---- */

static void accept_many(struct rig *rig, enum net net)
{
	struct addr addr;
	struct end *listener = listener_new(rig, net, &addr);

	end_accept_start(listener, true);
	for (uint32_t i = 1; i <= 3; i++) {
		connect_some(rig, &addr, 50);
		until(listener->n_accept == i * 50);
	}
	check(!listener->accept_err);
	for (uint32_t i = 0; i < listener->n_fds && !rig_is_fake(rig); i++) {
		check(fcntl(listener->fds[i], F_GETFL) & O_NONBLOCK);
		check(fcntl(listener->fds[i], F_GETFD) & FD_CLOEXEC);
	}
	rig_check_quiet(rig);
}

CONTRACT(accept_many_ipv4)
{
	accept_many(rig, NET_TCP4);
}

CONTRACT(accept_many_ipv6)
{
	accept_many(rig, NET_TCP6);
}

CONTRACT(accept_many_unix)
{
	accept_many(rig, NET_UNIX);
}

CONTRACT(accept_what_waited_before)
{
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);

	connect_some(rig, &addr, BACKLOG);
	rig_settle(rig);
	check(listener->n_accept == 0);
	rig_check_quiet(rig);
	end_accept_start(listener, true);
	until(listener->n_accept == BACKLOG);
}

static void on_accept_serve(struct end *listener, const struct io_event *event)
{
	struct rig *rig = listener->rig;
	struct end *end;

	if (event->op != IO_ACCEPT || event->res < 0)
		return;
	end = end_new(rig);
	end->mode = END_ECHO;
	end->unchecked = true;
	check(end_attach(end, listener->fds[--listener->n_fds], IO_STREAM));
	end_recv_start(end);
}

CONTRACT(accept_and_serve_from_the_handler)
{
	enum { CONNS = 60 };
	struct peer *peers[CONNS];
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);

	listener->on_event = on_accept_serve;
	end_accept_start(listener, true);
	for (uint32_t i = 0; i < CONNS; i++) {
		peers[i] = peer_new(rig);
		peers[i]->seed = i;
		peers[i]->write_to = 1000 + i;
		peers[i]->shut_after = true;
		check(peer_connect(peers[i], &addr));
	}
	for (uint32_t i = 0; i < CONNS; i++) {
		until(peer_ended(peers[i]));
		check(peers[i]->eof && peers[i]->read == 1000 + i);
	}
}

CONTRACT(accept_one)
{
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);

	connect_some(rig, &addr, 5);
	for (uint32_t i = 1; i <= 5; i++) {
		end_accept_start(listener, false);
		until(listener->n_accept == i);
		rig_settle(rig);
		check(listener->n_accept == i, "more than one was accepted");
	}
	end_accept_start(listener, false);
	rig_settle(rig);
	connect_some(rig, &addr, 2);
	until(listener->n_accept == 6);
	rig_settle(rig);
	check(listener->n_accept == 6, "more than one was accepted");
}

static void on_accept_again(struct end *listener, const struct io_event *event)
{
	if (event->op == IO_ACCEPT && event->res >= 0)
		end_accept_start(listener, false);
}

CONTRACT(accept_one_after_another_from_the_handler)
{
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);

	listener->on_event = on_accept_again;
	end_accept_start(listener, false);
	connect_some(rig, &addr, 30);
	until(listener->n_accept == 30);
}

static void on_accept_stop(struct end *listener, const struct io_event *event)
{
	if (event->op == IO_ACCEPT && listener->accepting)
		end_accept_stop(listener);
}

CONTRACT(accept_stop_and_start_again)
{
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);
	uint32_t n;

	listener->on_event = on_accept_stop;
	end_accept_start(listener, true);
	connect_some(rig, &addr, 40);
	until(listener->n_accept);
	rig_settle(rig);
	/* By now whatever was under way has come. */
	n = listener->n_accept;
	connect_some(rig, &addr, 10);
	rig_settle(rig);
	check(listener->n_accept == n, "accepted long after accept_stop");
	rig_check_quiet(rig);
	listener->on_event = NULL;
	end_accept_start(listener, true);
	until(listener->n_accept == 50);
}

CONTRACT(accept_one_stopped_and_started_again)
{
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);

	for (int i = 0; i < 5; i++) {
		end_accept_start(listener, false);
		end_accept_stop(listener);
		end_accept_start(listener, false);
		rig_step(rig);
		end_accept_stop(listener);
		rig_settle(rig);
	}
	connect_some(rig, &addr, 2);
	rig_settle(rig);
	check(listener->n_accept == 0, "accepted while stopped");
	end_accept_start(listener, false);
	until(listener->n_accept == 1);
	rig_settle(rig);
	check(listener->n_accept == 1, "more than one was accepted");
}

static void accept_without_descriptors(struct rig *rig, bool many)
{
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);

	connect_some(rig, &addr, 3);
	rig->world->fds_limit(rig, true);
	for (int i = 0; i < 3; i++) {
		listener->accept_err = 0;
		end_accept_start(listener, many);
		until(listener->accept_err);
		check(listener->accept_err == -EMFILE && listener->n_accept == 0);
		rig_check_quiet(rig);
	}
	rig->world->fds_limit(rig, false);
	rig_settle(rig);
	check(listener->n_accept == 0, "accepting had ended");
	end_accept_start(listener, true);
	until(listener->n_accept == 3);
}

CONTRACT(accept_many_without_descriptors)
{
	accept_without_descriptors(rig, true);
}

CONTRACT(accept_one_without_descriptors)
{
	accept_without_descriptors(rig, false);
}

CONTRACT(accept_goes_on_past_connections_that_died)
{
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);
	struct peer *peer;

	for (int i = 0; i < 20; i++) {
		peer = peer_new(rig);
		check(peer_connect(peer, &addr));
		peer_reset(peer);
	}
	end_accept_start(listener, true);
	rig_settle(rig);
	listener->on_event = on_accept_serve;
	peer = peer_new(rig);
	peer->write_to = 10;
	check(peer_connect(peer, &addr));
	until(peer->read == 10);
	check(!listener->accept_err);
}

CONTRACT(close_of_a_listener)
{
	static const enum io_close hows[] = {IO_CLOSE_NOW, IO_CLOSE_FLUSH, IO_CLOSE_RESET};

	for (size_t i = 0; i < ARRAY_SIZE(hows); i++) {
		struct addr addr;
		struct end *listener = listener_new(rig, NET_TCP4, &addr);
		struct peer *peer = peer_new(rig);

		end_accept_start(listener, true);
		rig_settle(rig);
		end_close(listener, hows[i]);
		until(listener->closed);
		check(listener->close_res == 0);
		check(!peer_connect(peer, &addr), "the listener is still there");
		rig->world->close(peer);
	}
}

static void on_accept_close(struct end *listener, const struct io_event *event)
{
	if (event->op == IO_ACCEPT)
		end_close(listener, IO_CLOSE_NOW);
}

CONTRACT(close_inside_io_accept)
{
	struct addr addr;
	struct end *listener = listener_new(rig, NET_TCP4, &addr);

	listener->on_event = on_accept_close;
	connect_some(rig, &addr, 20);
	end_accept_start(listener, true);
	until(listener->closed);
	check(listener->n_accept == 1);
	rig_settle(rig);
}

/* ---- slots ---- */

CONTRACT(no_slot_left, .socks_max = 4)
{
	struct peer *peers[4], *other = peer_new(rig);
	struct end *ends[4], *more = end_new(rig);
	struct addr addr;
	int fd;

	rig->world->remote(rig, NET_TCP4, &addr);
	for (int i = 0; i < 4; i++)
		ends[i] = end_pair(rig, NULL, &peers[i]);
	fd = rig->world->pair(rig, &(struct link_conf){.net = NET_TCP4}, other);
	other->gone = false;
	for (int i = 0; i < 20; i++) {
		check(!end_attach(more, fd, IO_STREAM), "a fifth socket");
		check(!end_dial(more, &addr), "a fifth socket");
		more->connecting = false;
		end_close(ends[i % 4], IO_CLOSE_NOW);
		until(ends[i % 4]->closed);
		ends[i % 4] = end_pair(rig, NULL, &peers[i % 4]);
	}
	end_close(ends[0], IO_CLOSE_NOW);
	until(ends[0]->closed);
	check(end_attach(more, fd, IO_STREAM), "the descriptor is still the caller's");
	other->seed = more->seed;
	other->write_to = 10;
	end_recv_start(more);
	until(more->received == 10);
}

/* ---- dialling ---- */

static void dial_and_talk(struct rig *rig, enum net net)
{
	struct end *end = end_new(rig);
	struct peer *peer = peer_new(rig);
	struct addr addr;

	rig->world->remote(rig, net, &addr);
	check(end_dial(end, &addr));
	until(end->n_connect);
	check(end->connect_res == 0);
	until(peer_accept(peer, &addr));
	peer->seed = end->seed;
	peer->write_to = 1 << 20;
	peer->shut_after = true;
	end_recv_start(end);
	end_send_bytes(end, 1 << 20, BUF_LARGE_BYTES);
	end_shutdown(end);
	until(end->eof && peer->eof);
	check(end->received == 1 << 20 && peer->read == 1 << 20 && end->n_connect == 1);
	end_close(end, IO_CLOSE_FLUSH);
	until(end->closed);
}

CONTRACT(dial_ipv4)
{
	dial_and_talk(rig, NET_TCP4);
}

CONTRACT(dial_ipv6)
{
	dial_and_talk(rig, NET_TCP6);
}

CONTRACT(dial_unix)
{
	dial_and_talk(rig, NET_UNIX);
}

CONTRACT(dial_refused)
{
	for (enum net net = NET_TCP4; net <= NET_UNIX; net++) {
		struct end *end = end_new(rig);
		struct addr addr;

		rig->world->refusing(rig, net, &addr);
		check(end_dial(end, &addr));
		until(end->n_connect);
		check(end->connect_res == -ECONNREFUSED, "IO_CONNECT %d", end->connect_res);
		rig_settle(rig);
		check(!end->closed && end->n_connect == 1);
		end_close(end, net == NET_TCP6 ? IO_CLOSE_RESET : IO_CLOSE_NOW);
		until(end->closed);
	}
}

CONTRACT(dial_no_such_path)
{
	struct addr addr = {.kind = ADDR_UNIX, .len = sizeof(addr.un)};
	struct end *end = end_new(rig);

	addr.un.sun_family = AF_UNIX;
	strcpy(addr.un.sun_path, "/nonexistent/socket");
	check(end_dial(end, &addr));
	until(end->n_connect);
	check(end->connect_res == (rig_is_fake(rig) ? -ECONNREFUSED : -ENOENT));
}

CONTRACT(dial_without_an_answer)
{
	struct addr addr;

	rig->world->silent(rig, &addr);
	for (enum io_close how = IO_CLOSE_FLUSH; how <= IO_CLOSE_RESET; how++) {
		struct end *end = end_new(rig);

		check(end_dial(end, &addr));
		rig_check_quiet(rig);
		check(!end->n_connect, "somebody answered: %d", end->connect_res);
		end_close(end, how);
		until(end->closed);
		check(!end->n_connect);
	}
}

CONTRACT(dial_closed_at_once)
{
	struct addr addr;

	rig->world->remote(rig, NET_TCP4, &addr);
	for (enum io_close how = IO_CLOSE_FLUSH; how <= IO_CLOSE_RESET; how++) {
		struct end *end = end_new(rig);

		check(end_dial(end, &addr));
		end_close(end, how);
		until(end->closed);
		check(!end->n_connect);
	}
}

CONTRACT(dial_without_descriptors)
{
	struct end *end = end_new(rig);
	struct addr addr;

	rig->world->remote(rig, NET_TCP4, &addr);
	rig->world->fds_limit(rig, true);
	check(end_dial(end, &addr));
	until(end->n_connect);
	check(end->connect_res == -EMFILE, "IO_CONNECT %d", end->connect_res);
	rig->world->fds_limit(rig, false);
	end_close(end, IO_CLOSE_NOW);
	until(end->closed);
}

struct attempts {
	struct addr refusing, remote;
	uint32_t n;
};

static void on_connect_next(struct end *end, const struct io_event *event)
{
	struct rig *rig = end->rig;
	struct attempts *attempts = end->ctx;
	struct end *next;

	if (event->op == IO_CONNECT && event->res < 0)
		end_close(end, IO_CLOSE_NOW);
	if (event->op == IO_CONNECT && event->res == 0)
		end_send_bytes(end, 10, 10);
	if (event->op != IO_CLOSE || attempts->n == 5)
		return;
	next = end_new(rig);
	next->seed = 1;
	next->on_event = on_connect_next;
	next->ctx = attempts;
	attempts->n++;
	check(end_dial(next, attempts->n == 5 ? &attempts->remote : &attempts->refusing));
}

/* As a relay that tries its upstreams in turn: it closes inside IO_CONNECT and dials inside
 * IO_CLOSE. */
CONTRACT(dial_inside_io_close)
{
	struct attempts attempts = {.n = 1};
	struct end *end = end_new(rig);
	struct peer *peer = peer_new(rig);

	rig->world->refusing(rig, NET_TCP4, &attempts.refusing);
	rig->world->remote(rig, NET_TCP4, &attempts.remote);
	end->on_event = on_connect_next;
	end->ctx = &attempts;
	check(end_dial(end, &attempts.refusing));
	peer->seed = 1;
	until(peer_accept(peer, &attempts.remote));
	until(peer->read == 10);
}
