/* backend.c: see backend.h. Finds the place of a question; the vault's own answers are here, since they need no waiting. */
#include "backend.h"

#include "rules.h"
#include "wr.h"

#include <stdio.h>
#include <string.h>

void backend_answer(struct backend_ask *a, int rc, struct secret *value, const struct err *e)
{
	struct backend_answer r = {.rc = rc, .value = value, .why = rc < 0 ? e->text : ""};

	a->fn(a, &r);
	secret_free(r.value);
}

/* ---- the vault ---- */

static void file_list(const struct vault *v, struct backend_ask *a)
{
	auto_free char *names = malloc(RPC_TAIL_MAX);
	struct backend_answer r = {.why = ""};
	struct wr w = wr_of(names, RPC_TAIL_MAX);
	struct err e = {0};
	const char *name;
	size_t at = 0;

	if (!names) {
		backend_answer(a, err_set(&e, -ENOMEM, "out of memory"), NULL, &e);
		return;
	}
	while ((name = vault_name(v, a->workspace, &at)))
		wr_bytes(&w, name, strlen(name) + 1);
	if (w.full)
		r.rc = err_set(&e, -E2BIG, "the names of workspace %s do not fit in one answer",
			       a->workspace);
	r.names = names;
	r.names_len = w.len;
	r.why = e.text;
	a->fn(a, &r);
}

/* Is there room for one more name: as many as a document can bind. */
static int file_room(const struct vault *v, const struct backend_ask *a, struct err *e)
{
	size_t at = 0, n = 0;

	if (vault_has(v, a->workspace, a->name))
		return 0;
	while (vault_name(v, a->workspace, &at))
		n++;
	return n < RULES_SECRETS_MAX
		       ? 0
		       : err_set(e, -E2BIG, "workspace %s has %d secrets, the most there can be",
				 a->workspace, RULES_SECRETS_MAX);
}

static void file_ask(struct backends *b, struct backend_ask *a)
{
	struct vault *v = *b->vault;
	struct secret *value = NULL;
	struct err e = {0};
	int rc = 0;

	if (!v) {
		rc = err_set(
			&e, -ENOKEY,
			"the vault is not open: unlock it with: agentsecrets vault unlock; if there "
			"is none, run: agentsecrets init");
		backend_answer(a, rc, NULL, &e);
		return;
	}
	switch (a->op) {
	case BACKEND_READ:
		rc = vault_read(v, VAULTREC_SECRET, a->workspace, a->name, &value, &e);
		b->stats->vault_reads += rc == 0;
		break;
	case BACKEND_SET:
		rc = file_room(v, a, &e);
		if (rc == 0)
			rc = vault_set(v, VAULTREC_SECRET, a->workspace, a->name, a->value, &e);
		break;
	case BACKEND_DELETE:
		rc = vault_delete(v, a->workspace, a->name, &e);
		break;
	case BACKEND_DROP:
		rc = vault_drop(v, a->workspace, &e);
		break;
	case BACKEND_LIST:
		file_list(v, a);
		return;
	}
	backend_answer(a, rc, value, &e);
}

/* ---- places ---- */

static struct backend_place *place_find(const struct backends *b, const char *workspace)
{
	struct backend_place *p = b->places;

	while (p && strcmp(p->workspace, workspace) != 0)
		p = p->next;
	return p;
}

bool backend_is_file(const struct backends *b, const char *workspace)
{
	return !place_find(b, workspace);
}

static void place_free(struct backends *b, struct backend_place *p)
{
	struct backend_place **at = &b->places;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	backend_helper_end(b, p, "the workspace's values are elsewhere now");
	own_close(&p->dir);
	free(p);
}

static int place_make(struct backends *b, const struct rpc_place *q, struct backend_place **ret)
{
	struct backend_place *p = place_find(b, q->workspace);

	if (p && p->kind != q->kind) {
		place_free(b, p);
		p = NULL;
	}
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		memcpy(p->workspace, q->workspace, sizeof(p->workspace));
		p->kind = q->kind;
		p->dir = p->helper.fd = -1;
		p->number = ++b->serial;
		p->next = b->places;
		b->places = p;
	}
	*ret = p;
	return 0;
}

static bool place_ok(const struct rpc_place *q)
{
	return rpc_str_ok(q->workspace, sizeof(q->workspace)) && rules_workspace_ok(q->workspace);
}

int backend_set_place(struct backends *b, const struct rpc_place *q, int *fd)
{
	struct backend_place *p = NULL;
	int rc;

	if (!place_ok(q) || (*fd >= 0 && q->kind != RPC_PLACE_MOUNTED) ||
	    q->kind < RPC_PLACE_FILE || q->kind > RPC_PLACE_SECRET_SERVICE)
		return -EPROTO;
	if (q->kind == RPC_PLACE_FILE) {
		p = place_find(b, q->workspace);
		if (p)
			place_free(b, p);
		return 0;
	}
	rc = place_make(b, q, &p);
	if (rc == 0 && q->kind == RPC_PLACE_MOUNTED) {
		own_close(&p->dir);
		p->dir = take_fd(fd);
	}
	return rc;
}

void backend_ask(struct backends *b, struct backend_ask *a)
{
	struct backend_place *p = place_find(b, a->workspace);

	if (a->op == BACKEND_READ && backend_command_ask(b, a))
		return;
	if (!p)
		file_ask(b, a);
	else if (p->kind == RPC_PLACE_MOUNTED)
		backend_dir_ask(b, p, a);
	else
		backend_helper_ask(b, p, a);
}

int backends_turn(struct backends *b, uint64_t now_ms)
{
	int x = backend_helper_turn(b, now_ms), y = backend_command_turn(b, now_ms);

	return x < 0 ? y : y < 0 || x < y ? x : y;
}

void backends_done(struct backends *b)
{
	while (b->places)
		place_free(b, b->places);
	backend_commands_done(b);
}
