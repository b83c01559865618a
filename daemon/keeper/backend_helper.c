/* backend_helper.c: the keyring of a workspace's owner, behind a helper program that runs in the owner's session.
 *
 * The helper is the owner's, and is believed about the owner's own secrets alone: it is asked, never asks, and what it
 * answers is a number and a value that is checked like any other. Each question has a number of its own and a time;
 * an answer to none, a wrong size or a value that cannot be one ends the channel. Everything that waits is
 * then answered; the values themselves are where they were.
 */
#include "backend.h"

#include "log.h"
#include "rules.h"

#include <string.h>

#define HELPER_BATCH 16

static void helper_away(const struct backend_place *p, struct err *e)
{
	(void)err_set(
		e, -EHOSTDOWN,
		"the values of workspace %s are in its owner's keyring, and nobody answers for it; in the "
		"owner's session, start: agentsecrets-secret-service %s",
		p->workspace, p->workspace);
}

void backend_helper_end(struct backends *b, struct backend_place *p, const char *why)
{
	struct backend_ask *a;
	struct err e = {0};

	if (p->helper.fd >= 0) {
		loop_forget(b->loop, p->helper.fd);
		own_close(&p->helper.fd);
		p->gen++;
		log_info("the keyring helper of workspace %s has ended (%s)", p->workspace, why);
	}
	helper_away(p, &e);
	while ((a = p->waiting)) {
		p->waiting = a->next;
		backend_answer(a, -EHOSTDOWN, NULL, &e);
	}
}

/* Takes the question of that number out of those that wait. */
static struct backend_ask *helper_take(struct backend_place *p, uint32_t id)
{
	struct backend_ask **at = &p->waiting, *a;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	a = *at;
	if (a)
		*at = a->next;
	return a;
}

static int helper_sentence(const struct backend_place *p, int rc, struct err *e)
{
	switch (rc) {
	case -ENOENT:
		return err_set(e, rc, "the keyring has no such secret");
	case -ENOLCK:
		return err_set(
			e, rc,
			"the keyring of workspace %s is locked; its owner unlocks it by logging in, or "
			"with the desktop's password manager. Nothing was lost",
			p->workspace);
	default:
		return err_set(e, rc, "the keyring of workspace %s: %s", p->workspace,
			       strerror(-rc));
	}
}

static int helper_value(struct backends *b, const struct rpc_msg *m, struct backend_ask *a)
{
	struct secret *value = NULL;
	struct err e = {0};
	int rc = secret_of_value(m->tail, m->tail_len, RPC_SECRET_MAX, &value, &e);

	b->stats->helper_reads += rc == 0;
	backend_answer(a, rc, value, &e);
	return 0;
}

/* Names, each of which could be one. */
static bool helper_names_ok(const char *p, size_t len)
{
	size_t at = 0;

	if (len > 0 && p[len - 1] != '\0')
		return false;
	for (; at < len; at += strlen(p + at) + 1)
		if (!rules_name_ok(p + at))
			return false;
	return true;
}

struct helper_turn {
	struct backends *b;
	struct backend_place *p;
};

static int helper_on_done(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct helper_turn *t = ctx;
	const struct rpc_done *d = m->body;
	struct backend_ask *a;
	struct err e = {0};

	(void)peer;
	if (d->rc > 0 || d->tail_len != m->tail_len || m->id == 0)
		return -EPROTO;
	a = helper_take(t->p, m->id);
	if (!a)
		return 0; /* it came too late */
	if (d->rc < 0) {
		backend_answer(a, helper_sentence(t->p, d->rc, &e), NULL, &e);
		return 0;
	}
	if (a->op == BACKEND_READ)
		return helper_value(t->b, m, a);
	if (a->op == BACKEND_LIST) {
		struct backend_answer r = {
			.names = (const char *)m->tail, .names_len = m->tail_len, .why = ""};

		if (!helper_names_ok(r.names, r.names_len)) {
			r = (struct backend_answer){.rc = -EPROTO,
						    .why = "the helper's list is not one"};
			a->fn(a, &r);
			return -EPROTO;
		}
		a->fn(a, &r);
		return 0;
	}
	backend_answer(a, 0, NULL, &e);
	return 0;
}

static const struct rpc_row helper_rows[] = {
	{RPC_HELPER_DONE, sizeof(struct rpc_done), RPC_TAIL_MAX, 0, helper_on_done},
};

static struct backend_place *helper_place(struct backends *b, uint32_t number)
{
	struct backend_place *p = b->places;

	while (p && p->number != number)
		p = p->next;
	return p;
}

void backend_on_helper(struct backends *b, uint32_t slot, uint16_t gen, void *buf)
{
	struct helper_turn t = {b, helper_place(b, slot)};
	int rc;

	if (!t.p || t.p->helper.fd < 0 || t.p->gen != gen)
		return;
	rc = rpc_serve(&t.p->helper, helper_rows, ARRAY_SIZE(helper_rows), &t, buf, HELPER_BATCH);
	if (rc < 0)
		backend_helper_end(b, t.p, rc == -EPIPE ? "it is gone" : strerror(-rc));
}

int backend_set_helper(struct backends *b, const struct rpc_place *q, int *fd)
{
	struct backend_place *p = b->places;
	struct loop_key key = {.kind = BACKEND_HELPER};

	if (!rpc_str_ok(q->workspace, sizeof(q->workspace)) || *fd < 0)
		return -EPROTO;
	while (p && strcmp(p->workspace, q->workspace) != 0)
		p = p->next;
	if (!p || p->kind != RPC_PLACE_SECRET_SERVICE)
		return 0; /* it is elsewhere by now: the helper sees its channel closed */
	backend_helper_end(b, p, "another one came");
	p->helper = (struct rpc_peer){.fd = take_fd(fd), .number = p->number};
	key.slot = p->number;
	key.gen = p->gen;
	log_info("the keyring helper of workspace %s is there", p->workspace);
	return loop_watch(b->loop, p->helper.fd, key, EPOLLIN);
}

void backend_helper_ask(struct backends *b, struct backend_place *p, struct backend_ask *a)
{
	static const uint16_t ops[] = {[BACKEND_READ] = RPC_HELPER_GET,
				       [BACKEND_SET] = RPC_HELPER_SET,
				       [BACKEND_DELETE] = RPC_HELPER_DELETE,
				       [BACKEND_LIST] = RPC_HELPER_LIST};
	struct rpc_secret_ref ref = {0};
	struct err e = {0};
	int rc;

	if (a->op == BACKEND_DROP) { /* they are the owner's, and stay */
		backend_answer(a, 0, NULL, &e);
		return;
	}
	if (p->helper.fd < 0) {
		helper_away(p, &e);
		backend_answer(a, -EHOSTDOWN, NULL, &e);
		return;
	}
	memcpy(ref.workspace, a->workspace, sizeof(ref.workspace));
	memcpy(ref.name, a->name, sizeof(ref.name));
	a->id = ++b->serial ? b->serial : ++b->serial;
	a->deadline_ms = b->loop->now_ms + BACKEND_ASK_MS;
	rc = rpc_send(p->helper.fd, ops[a->op], a->id, &ref, sizeof(ref),
		      a->value ? secret_view(a->value) : NULL, a->value ? secret_len(a->value) : 0,
		      -1);
	if (rc < 0) {
		(void)err_set(&e, rc, "the keyring helper of workspace %s takes nothing (%s)",
			      p->workspace, strerror(-rc));
		backend_answer(a, rc, NULL, &e);
		return;
	}
	a->next = p->waiting;
	p->waiting = a;
}

int backend_helper_turn(struct backends *b, uint64_t now_ms)
{
	struct backend_place *p;
	int wait = -1;

	for (p = b->places; p; p = p->next) {
		struct backend_ask **at = &p->waiting, *a;

		while ((a = *at)) {
			struct err e = {0};

			if (a->deadline_ms > now_ms) {
				if (wait < 0 || a->deadline_ms - now_ms < (uint64_t)wait)
					wait = (int)(a->deadline_ms - now_ms);
				at = &a->next;
				continue;
			}
			*at = a->next;
			(void)err_set(
				&e, -ETIMEDOUT,
				"the keyring helper of workspace %s did not answer in %d s; nothing was changed "
				"that it did not change",
				p->workspace, BACKEND_ASK_MS / 1000);
			backend_answer(a, -ETIMEDOUT, NULL, &e);
			at = &p->waiting; /* the answer may have changed the list */
		}
	}
	return wait;
}
