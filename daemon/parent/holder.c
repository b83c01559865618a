/* holder.c: keeps descriptors alive, and nothing else.
 *
 * It outlives the parent: links and listeners stay open while the daemon is away or being replaced, so nobody else
 * binds the port, connects queue, and an unmounted bpffs detaches nothing. A new parent connects to the holder's
 * socket (0600, root; SOCK_SEQPACKET), asks for the list, and is the boss from then on. One boss at a time: a newer
 * one replaces the older. It uses no descriptor it keeps: no accept, no read.
 */
#include "child.h"
#include "fdio.h"
#include "log.h"
#include "loop.h"
#include "sandbox.h"

#include <string.h>
#include <sys/socket.h>

#define HOLDER_MAX 8192

enum { HOLDER_BOSS = 1, HOLDER_LISTEN };

struct holder {
	struct config cfg;
	struct loop loop;
	struct rpc_peer boss;
	uint16_t boss_gen;
	int listen_fd;
	bool go, configured;
	size_t count;
	struct {
		char key[64];
		int fd;
	} kept[HOLDER_MAX];
	uint8_t buf[RPC_BUF];
};

static int holder_config(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct holder *h = ctx;

	(void)peer;
	memcpy(&h->cfg, m->body, sizeof(h->cfg));
	h->configured = true;
	return 0;
}

static int holder_wire(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_wire *w = m->body;
	struct holder *h = ctx;

	(void)peer;
	if (w->kind != RPC_WIRE_LISTEN || h->listen_fd >= 0)
		return -EPROTO;
	h->listen_fd = take_fd(&m->fd);
	return 0;
}

static int holder_go(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct holder *h = ctx;

	(void)peer;
	(void)m;
	h->go = true;
	return 0;
}

static void holder_close(struct holder *h, size_t i)
{
	own_close(&h->kept[i].fd);
	h->kept[i] = h->kept[--h->count];
}

static int holder_keep(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_hold *hold = m->body;
	struct holder *h = ctx;
	size_t i;

	(void)peer;
	if (!rpc_str_ok(hold->key, sizeof(hold->key)))
		return -EPROTO;
	for (i = 0; i < h->count; i++)
		if (strcmp(h->kept[i].key, hold->key) == 0)
			break;
	if (i == HOLDER_MAX)
		return -ENOSPC;
	if (i < h->count)
		own_close(&h->kept[i].fd);
	else
		h->count++;
	memcpy(h->kept[i].key, hold->key, sizeof(hold->key));
	h->kept[i].fd = take_fd(&m->fd);
	return 0;
}

static int holder_drop(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_hold *hold = m->body;
	struct holder *h = ctx;
	size_t i = 0, n;

	(void)peer;
	if (!rpc_str_ok(hold->key, sizeof(hold->key)))
		return -EPROTO;
	n = strlen(hold->key);
	while (i < h->count) {
		const char *key = h->kept[i].key;

		if (strncmp(key, hold->key, n) == 0 && (key[n] == '\0' || key[n] == '/'))
			holder_close(h, i);
		else
			i++;
	}
	return 0;
}

static int holder_list(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct holder *h = ctx;
	size_t i;
	int rc = 0;

	(void)peer;
	for (i = 0; i < h->count && rc == 0; i++) {
		struct rpc_hold hold;

		memcpy(hold.key, h->kept[i].key, sizeof(hold.key));
		rc = rpc_send(h->boss.fd, RPC_HOLD_ITEM, m->id, &hold, sizeof(hold), NULL, 0,
			      h->kept[i].fd);
	}
	return rc < 0 ? rc : rpc_send(h->boss.fd, RPC_HOLD_END, m->id, NULL, 0, NULL, 0, -1);
}

static int holder_end(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct holder *h = ctx;

	(void)peer;
	(void)m;
	h->loop.stop = true;
	return 0;
}

static const struct rpc_row holder_rows[] = {
	{RPC_CONFIG, sizeof(struct config), 0, 0, holder_config},
	{RPC_WIRE, sizeof(struct rpc_wire), 0, RPC_FD, holder_wire},
	{RPC_GO, 0, 0, 0, holder_go},
	{RPC_HOLD, sizeof(struct rpc_hold), 0, RPC_FD, holder_keep},
	{RPC_HOLD_DROP, sizeof(struct rpc_hold), 0, 0, holder_drop},
	{RPC_HOLD_LIST, 0, 0, 0, holder_list},
	{RPC_HOLD_END, 0, 0, 0, holder_end},
};

static void holder_on_boss(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct holder *h = ctx;
	int rc;

	(void)slot;
	(void)events;
	if (gen != h->boss_gen || h->boss.fd < 0)
		return;
	rc = rpc_serve(&h->boss, holder_rows, ARRAY_SIZE(holder_rows), h, h->buf, 256);
	if (rc < 0) {
		log_info("the daemon is gone (%s); keeping %zu descriptors", strerror(-rc),
			 h->count);
		own_close(&h->boss.fd);
	}
}

static void holder_on_listen(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct loop_key key = {.kind = HOLDER_BOSS};
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct holder *h = ctx;
	auto_close int fd = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)slot;
	(void)gen;
	(void)events;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != 0)
		return;
	own_close(&h->boss.fd);
	key.gen = ++h->boss_gen;
	if (loop_watch(&h->loop, fd, key, EPOLLIN) < 0)
		return;
	h->boss = (struct rpc_peer){.fd = take_fd(&fd)};
	log_info("a new daemon has taken over %zu descriptors", h->count);
}

static int holder_turn(void *ctx, uint64_t now_ms)
{
	(void)ctx;
	(void)now_ms;
	return -1;
}

static int holder_run(struct holder *h, struct err *e)
{
	int rc = child_wait_go(&h->boss, holder_rows, ARRAY_SIZE(holder_rows), h, &h->go);

	if (rc < 0 || !h->configured || h->listen_fd < 0)
		return err_set(e, rc < 0 ? rc : -EPROTO, "the daemon did not say what to hold");
	/* Again, by us: SO_PEERCRED of the socket now names this process (unix(7)). */
	if (listen(h->listen_fd, 4) < 0)
		return err_set(e, -errno, "listen: %s", strerror(errno));
	rc = loop_init(&h->loop, h, holder_turn);
	if (rc < 0)
		return err_set(e, rc, "epoll: %s", strerror(-rc));
	loop_on(&h->loop, HOLDER_BOSS, holder_on_boss);
	loop_on(&h->loop, HOLDER_LISTEN, holder_on_listen);
	rc = loop_watch(&h->loop, h->boss.fd, (struct loop_key){.kind = HOLDER_BOSS}, EPOLLIN);
	if (rc == 0)
		rc = loop_watch(&h->loop, h->listen_fd, (struct loop_key){.kind = HOLDER_LISTEN},
				EPOLLIN);
	if (rc < 0)
		return err_set(e, rc, "epoll: %s", strerror(-rc));
	rc = sandbox_drop(&h->cfg.holder_user, e);
	if (rc == 0)
		rc = sandbox_lock(SANDBOX_HOLDER, e);
	if (rc == 0)
		rc = rpc_send(h->boss.fd, RPC_READY, 0, NULL, 0, NULL, 0, -1);
	return rc < 0 ? rc : loop_run(&h->loop);
}

int holder_main(void)
{
	static struct holder h = {.boss = {.fd = RPC_BOSS_FD}, .listen_fd = -1};
	struct err e = {0};
	int rc;

	log_init("holder", LOG_LEVEL_INFO);
	/* Terminal signals and the parent's session end are not for it. */
	rc = setsid() < 0 && errno != EPERM ? -errno : sandbox_first(&e);
	if (rc == 0)
		rc = holder_run(&h, &e);
	if (rc < 0)
		log_error("%s; ending", e.text[0] ? e.text : strerror(-rc));
	return rc < 0 ? 1 : 0;
}
