/* proc_holder.c: the holder, which is not a child like the others: it outlives us, and a daemon that starts finds it at
 * its socket and takes over what it keeps. See proc.h and holder.c.
 */
#include "proc_in.h"

#include "guards.h"
#include "log.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static void proc_holder_path(const struct parent *p, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(sa->sun_path, sizeof(sa->sun_path), "%.80s/holder.sock", p->cfg.run_dir);
}

static int proc_holder_listen(const struct parent *p, struct err *e)
{
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;

	proc_holder_path(p, &sa);
	(void)unlink(sa.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    chmod(sa.sun_path, 0600) < 0 || listen(fd, 4) < 0)
		return err_set(e, -errno, "cannot listen on %s: %s", sa.sun_path, strerror(errno));
	return take_fd(&fd);
}

int proc_holder_spawn(struct parent *p, struct err *e)
{
	struct proc *c = proc_of(p, PROC_HOLDER);
	auto_close int fd = proc_holder_listen(p, e);
	int rc;

	if (fd < 0)
		return fd;
	rc = proc_spawn(p, c, e);
	if (rc == 0)
		rc = proc_wire(c, RPC_WIRE_LISTEN, 0, fd);
	return rc < 0 ? rc : proc_go(p, c, e);
}

/* The one that a daemon before us left running. -ENOENT: none. */
static int proc_holder_find(struct parent *p)
{
	struct proc *c = proc_of(p, PROC_HOLDER);
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int rc;

	proc_holder_path(p, &sa);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -ENOENT;
	/* Who called listen() last: the holder, while it was root (holder.c). */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != 0)
		return -ENOENT;
	c->pid = cred.pid;
	c->started_ms = loop_now_ms();
	c->ready = true;
	rc = proc_watch(p, c, take_fd(&fd));
	if (rc < 0) {
		own_close(&c->boss.fd);
		own_close(&c->pidfd);
		c->pid = 0;
	}
	return rc;
}

struct proc_held {
	struct guards_held *item;
	size_t count, max;
	bool end;
};

static int proc_held_item(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_hold *hold = m->body;
	struct proc_held *h = ctx;

	(void)peer;
	if (!rpc_str_ok(hold->key, sizeof(hold->key)) || h->count == h->max)
		return -EPROTO;
	memcpy(h->item[h->count].key, hold->key, sizeof(hold->key));
	h->item[h->count++].fd = take_fd(&m->fd);
	return 0;
}

static int proc_held_end(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proc_held *h = ctx;

	(void)peer;
	(void)m;
	h->end = true;
	return 0;
}

/* Takes over what the old holder has: listeners for guards.c; its links it may keep. */
static void proc_holder_list(struct parent *p, struct proc_held *h)
{
	static const struct rpc_row rows[] = {
		{RPC_HOLD_ITEM, sizeof(struct rpc_hold), 0, RPC_FD, proc_held_item},
		{RPC_HOLD_END, 0, 0, 0, proc_held_end},
	};
	struct proc *c = proc_of(p, PROC_HOLDER);
	uint64_t end = loop_now_ms() + PROC_ASK_MS;
	int rc = rpc_send(c->boss.fd, RPC_HOLD_LIST, 1, NULL, 0, NULL, 0, -1);

	while (rc == 0 && !h->end && loop_now_ms() < end) {
		struct pollfd pfd = {.fd = c->boss.fd, .events = POLLIN};

		if (poll(&pfd, 1, 1000) > 0)
			rc = rpc_serve(&c->boss, rows, ARRAY_SIZE(rows), h, p->rpc_buf, 64);
	}
	if (!h->end)
		log_warn("the holder did not list what it keeps; listeners are made anew");
}

size_t proc_holder_take(struct parent *p, struct guards_held *item, size_t max)
{
	struct proc_held held = {.item = item, .max = max};

	if (proc_holder_find(p) == 0)
		proc_holder_list(p, &held);
	return held.count;
}

void proc_holder_end(struct parent *p)
{
	struct sockaddr_un sa;

	if (rpc_send(proc_of(p, PROC_HOLDER)->boss.fd, RPC_HOLD_END, 0, NULL, 0, NULL, 0, -1) < 0)
		log_warn("the holder did not hear that it may end");
	proc_holder_path(p, &sa);
	(void)unlink(sa.sun_path);
}

void proc_holder_links(struct parent *p)
{
	int fds[64];
	size_t n = enforce_fds(p->en, 0, fds, ARRAY_SIZE(fds)), i;
	char key[64];

	proc_unhold(p, "link/0"); /* of a daemon that had others */
	for (i = 0; i < n; i++) {
		(void)snprintf(key, sizeof(key), "link/0/%zu", i);
		proc_hold(p, key, fds[i]);
	}
}

void proc_hold(struct parent *p, const char *key, int fd)
{
	struct proc *c = proc_of(p, PROC_HOLDER);
	struct rpc_hold hold = {0};

	(void)snprintf(hold.key, sizeof(hold.key), "%s", key);
	if (c->boss.fd < 0 ||
	    rpc_send(c->boss.fd, RPC_HOLD, 0, &hold, sizeof(hold), NULL, 0, fd) < 0)
		log_warn("the holder did not take %s; it is held by the daemon alone", key);
}

void proc_unhold(struct parent *p, const char *key)
{
	struct proc *c = proc_of(p, PROC_HOLDER);
	struct rpc_hold hold = {0};

	(void)snprintf(hold.key, sizeof(hold.key), "%s", key);
	if (c->boss.fd >= 0 &&
	    rpc_send(c->boss.fd, RPC_HOLD_DROP, 0, &hold, sizeof(hold), NULL, 0, -1) < 0)
		log_warn("the holder did not let go of %s", key);
}
