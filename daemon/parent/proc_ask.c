/* proc_ask.c: what the parent asks and tells its children. See proc.h. While an answer is waited for, what else the keeper
 * says is served as ever.
 */
#include "proc_in.h"

#include "vaultkey.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define PROC_STATS_MS 1000

struct proc_answer {
	struct parent *p;
	uint32_t id;
	bool done;
	int rc;
	char *tail;
	size_t len;
};

static int proc_admin_done(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_done *d = m->body;
	struct proc_answer *a = ctx;

	(void)peer;
	if (m->id != a->id || d->tail_len != m->tail_len)
		return -EPROTO;
	a->tail = malloc(m->tail_len + 1);
	if (!a->tail)
		return -ENOMEM;
	memcpy(a->tail, m->tail, m->tail_len);
	a->tail[m->tail_len] = '\0';
	a->len = m->tail_len;
	a->rc = d->rc;
	vaultkey_seen(a->p, d->generation);
	a->done = true;
	return 0;
}

static int proc_answer_ready(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proc_answer *a = ctx;

	return proc_ready(a->p, peer, m);
}

static int proc_answer_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proc_answer *a = ctx;

	return proc_took_stats(a->p, peer, m);
}

static int proc_answer_command(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proc_answer *a = ctx;

	return proc_command_run(a->p, peer, m);
}

static int proc_wait_answer(struct parent *p, struct proc *c, struct proc_answer *a)
{
	static const struct rpc_row rows[] = {
		{RPC_ADMIN_DONE, sizeof(struct rpc_done), RPC_TAIL_MAX, 0, proc_admin_done},
		{RPC_READY, 0, 0, 0, proc_answer_ready},
		{RPC_COMMAND_RUN, sizeof(struct rpc_command_run), 0, 0, proc_answer_command},
		{RPC_STATS, sizeof(struct rpc_stats), 0, 0, proc_answer_stats},
	};
	uint64_t end = loop_now_ms() + PROC_ASK_MS;
	int rc = 0;

	while (rc == 0 && !a->done) {
		struct pollfd pfd = {.fd = c->boss.fd, .events = POLLIN};
		uint64_t now = loop_now_ms();

		if (now >= end)
			return -ETIMEDOUT;
		if (poll(&pfd, 1, (int)(end - now)) > 0)
			rc = rpc_serve(&c->boss, rows, ARRAY_SIZE(rows), a, p->rpc_buf, 1);
	}
	return rc;
}

int proc_ask(struct parent *p, uint16_t op, const void *body, size_t size, int fd, size_t want,
	     char **ret, size_t *ret_len, struct err *e)
{
	static uint32_t next_id;
	struct proc *c = proc_of(p, PROC_KEEPER);
	struct proc_answer a = {.p = p, .id = ++next_id};
	int rc = c->boss.fd < 0 ? -EPIPE : rpc_send(c->boss.fd, op, a.id, body, size, NULL, 0, fd);

	if (rc == 0)
		rc = proc_wait_answer(p, c, &a);
	if (rc < 0) {
		free(a.tail);
		if (c->boss.fd >= 0)
			proc_lost(c, rc);
		return err_set(
			e, rc,
			"the keeper does not answer (%s); it is being started again, try once more",
			strerror(-rc));
	}
	rc = a.rc;
	if (rc < 0)
		(void)err_set(e, rc, "%s", a.len ? a.tail : strerror(-rc));
	else if (want && a.len != want)
		rc = err_set(e, -EPROTO, "the keeper's answer has the wrong size; this is a bug");
	if (rc == 0 && ret) {
		*ret = take(a.tail);
		if (ret_len)
			*ret_len = a.len;
	}
	if (a.tail)
		explicit_bzero(a.tail, a.len);
	free(a.tail);
	return rc;
}

static void proc_send(struct proc *c, uint16_t op, uint32_t id, const void *body, size_t size, int fd)
{
	int rc;

	if (c->boss.fd < 0 || !c->ready)
		return;
	rc = rpc_send(c->boss.fd, op, id, body, size, NULL, 0, fd);
	if (rc < 0)
		proc_lost(c, rc);
}

void proc_tell_one(struct parent *p, struct proc *c, uint16_t op, const void *body, size_t size, int fd)
{
	proc_send(c, op, 0, body, size, fd);
	p->told = true;
}

void proc_tell_role(struct parent *p, enum proc_role role, uint16_t op, const void *body,
		    size_t size, int fd)
{
	size_t i;

	for (i = 0; i < p->proc_count; i++)
		if (p->procs[i].role == role)
			proc_send(&p->procs[i], op, 0, body, size, fd);
	p->told |= op != RPC_STATS_ASK;
}

void proc_tell(struct parent *p, uint16_t op, const void *body, size_t size, int fd,
	       bool with_keeper)
{
	if (with_keeper)
		proc_tell_role(p, PROC_KEEPER, op, body, size, fd);
	proc_tell_role(p, PROC_RESOLVER, op, body, size, fd);
	proc_tell_role(p, PROC_PROXY, op, body, size, fd);
}

static bool proc_owes(const struct proc *c, uint32_t serial)
{
	return c->ready && c->boss.fd >= 0 && c->answered != serial;
}

bool proc_stats(struct parent *p)
{
	static uint32_t serial;
	uint64_t end = loop_now_ms() + PROC_STATS_MS;
	bool owed = true;
	size_t i;

	if (++serial == 0)
		serial = 1;
	for (i = PROC_KEEPER; i < p->proc_count; i++)
		proc_send(&p->procs[i], RPC_STATS_ASK, serial, NULL, 0, -1);
	while (owed && loop_now_ms() < end) {
		struct pollfd pfd[PROC_MAX];

		for (owed = false, i = 0; i < p->proc_count; i++) {
			owed |= i >= PROC_KEEPER && proc_owes(&p->procs[i], serial);
			pfd[i] = (struct pollfd){.fd = p->procs[i].boss.fd, .events = POLLIN};
		}
		if (!owed || poll(pfd, p->proc_count, 50) <= 0)
			continue;
		for (i = 0; i < p->proc_count; i++)
			if (pfd[i].revents && pfd[i].fd >= 0)
				proc_on_boss(p, (uint32_t)i, 0, POLLIN);
	}
	return !owed;
}

bool proc_settled(struct parent *p)
{
	bool told = p->told;

	p->told = false;
	return !told || proc_stats(p);
}
