/* backend_command.c: secrets whose value is what a command says (1Password, Vault and the like).
 *
 *	IDLE ──asked──► RUNNING ──output closed, and ended with 0──► IDLE, value kept for ttl
 *	                   └─ ended otherwise, too long, no value, out of time ──► IDLE, failure kept for a second
 *
 * The parent runs it, and knows which: here are its name, how long it may take, and how long its value is good.
 * One run at a time per secret: whoever asks meanwhile waits for that one. Its output comes through a pipe
 * straight into a secret's memory; nobody else reads it.
 */
#include "backend.h"

#include "log.h"
#include "rules.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_SPARE_MS                                                                           \
	2000 /* beyond the command's own time, for the parent to say how it ended */
#define COMMAND_FAILED_MS                                                                          \
	1000 /* a failure is answered again so long: a broken command is not run in a loop */

struct backend_command {
	struct backend_command *next;
	char workspace[RPC_WORKSPACE_MAX];
	char name[RPC_NAME_MAX];
	uint32_t ttl_s, timeout_s;
	uint32_t serial; /* of the run under way; 0: none */
	uint64_t deadline_ms;
	int fd; /* its output; -1: not yet, or closed */
	bool closed, ended;
	struct backend_answer end; /* rc and status, once it has ended */
	struct secret *value;      /* filled up to len while it runs; the kept one else */
	size_t len;
	uint64_t until_ms; /* value, or the failure in rc, status and why, is good until then */
	int rc;
	int32_t status;
	struct err why;
	struct backend_ask *waiting;
};

static struct backend_command *command_find(struct backends *b, const char *workspace,
					    const char *name)
{
	struct backend_command *c = b->commands;

	while (c && (strcmp(c->workspace, workspace) != 0 || strcmp(c->name, name) != 0))
		c = c->next;
	return c;
}

static struct backend_command *command_running(struct backends *b, uint32_t serial)
{
	struct backend_command *c = b->commands;

	while (c && (serial == 0 || c->serial != serial))
		c = c->next;
	return c;
}

/* One answer from what is kept. */
static void command_answer_kept(struct backends *b, struct backend_command *c,
				struct backend_ask *a)
{
	struct backend_answer r = {.rc = c->rc, .status = c->status, .why = c->why.text};
	struct err e = {0};

	if (c->rc == 0) {
		r.rc = secret_of(secret_view(c->value), secret_len(c->value), &r.value, &e);
		r.why = e.text;
	}
	b->stats->command_reads += r.rc == 0;
	a->fn(a, &r);
	secret_free(r.value);
}

static void command_stop_reading(struct backends *b, struct backend_command *c)
{
	if (c->fd >= 0)
		loop_forget(b->loop, c->fd);
	own_close(&c->fd);
}

/* The run is over: rc 0, then value holds what it said. Everybody who waits is answered. */
static void command_over(struct backends *b, struct backend_command *c)
{
	struct backend_ask *a, *list = take(c->waiting);
	uint64_t keep = c->rc == 0 ? c->ttl_s * 1000ULL : COMMAND_FAILED_MS;

	command_stop_reading(b, c);
	c->serial = 0;
	if (c->rc < 0) {
		c->value = secret_free(c->value);
		if (list)
			log_error("no value for %s of workspace %s: %s; refused", c->name,
				  c->workspace, c->why.text);
	}
	c->until_ms = b->loop->now_ms + keep;
	while ((a = list)) {
		list = a->next;
		command_answer_kept(b, c, a);
	}
	if (keep == 0)
		c->value = secret_free(c->value);
}

static void command_fail(struct backends *b, struct backend_command *c, int rc, int32_t status)
{
	c->rc = rc;
	c->status = status;
	command_over(b, c);
}

/* Both are there: how it ended, and all it said. */
static void command_judge(struct backends *b, struct backend_command *c)
{
	struct secret *said = NULL;
	struct err e = {0};
	size_t len = c->len;
	int rc;

	if (c->end.rc == -ETIMEDOUT) {
		(void)err_set(&c->why, 0, "its command was ended after %u s", c->timeout_s);
		command_fail(b, c, -ETIMEDOUT, 0);
		return;
	}
	if (c->end.rc < 0) {
		(void)err_set(&c->why, 0, "its command could not be started: %s",
			      strerror(-c->end.rc));
		command_fail(b, c, -ECHILD, 0);
		return;
	}
	if (c->end.status != 0) {
		if (c->end.status < 256)
			(void)err_set(&c->why, 0, "its command ended with status %d",
				      c->end.status);
		else
			(void)err_set(&c->why, 0, "its command was ended by signal %d",
				      c->end.status - 256);
		command_fail(b, c, -ECHILD, c->end.status);
		return;
	}
	if (len > 0 && secret_view(c->value)[len - 1] == '\n')
		len--;
	if (len > 0 && secret_view(c->value)[len - 1] == '\r')
		len--;
	rc = secret_of_value(secret_view(c->value), len, RPC_SECRET_MAX, &said, &e);
	secret_free(c->value);
	c->value = said;
	if (rc < 0) {
		(void)err_set(&c->why, 0, "what its command said: %s", e.text);
		command_fail(b, c, rc, 0);
		return;
	}
	c->rc = c->status = 0;
	command_over(b, c);
}

static void command_start(struct backends *b, struct backend_command *c)
{
	struct rpc_command_run q = {0};
	int rc;

	c->value = secret_free(c->value);
	c->len = 0;
	c->closed = c->ended = false;
	rc = secret_new(RPC_SECRET_MAX + 2, &c->value, &c->why);
	if (rc == 0) {
		c->serial = ++b->serial ? b->serial : ++b->serial;
		q.serial = c->serial;
		memcpy(q.workspace, c->workspace, sizeof(q.workspace));
		memcpy(q.name, c->name, sizeof(q.name));
		rc = rpc_send(b->boss->fd, RPC_COMMAND_RUN, 0, &q, sizeof(q), NULL, 0, -1);
		if (rc < 0)
			(void)err_set(&c->why, rc, "the daemon takes nothing (%s)", strerror(-rc));
	}
	if (rc < 0) {
		command_fail(b, c, rc, 0);
		return;
	}
	b->stats->command_runs++;
	c->deadline_ms = b->loop->now_ms + c->timeout_s * 1000ULL + COMMAND_SPARE_MS;
}

bool backend_command_ask(struct backends *b, struct backend_ask *a)
{
	struct backend_command *c = command_find(b, a->workspace, a->name);

	if (!c)
		return false;
	if (!c->serial && b->loop->now_ms < c->until_ms) {
		command_answer_kept(b, c, a);
		return true;
	}
	a->next = c->waiting;
	c->waiting = a;
	if (!c->serial)
		command_start(b, c);
	return true;
}

void backend_on_output(struct backends *b, uint32_t slot, uint16_t gen)
{
	struct backend_command *c = command_running(b, slot);

	(void)gen;
	if (!c || c->fd < 0)
		return;
	for (;;) {
		size_t room = secret_len(c->value) - c->len;
		ssize_t n = room ? read(c->fd, secret_bytes(c->value) + c->len, room) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n > 0) {
			c->len += (size_t)n;
			continue;
		}
		break; /* its end; or more than a value can have, which is then too long */
	}
	command_stop_reading(b, c);
	c->closed = true;
	if (c->ended)
		command_judge(b, c);
}

int backend_command_output(struct backends *b, const struct rpc_command_run *q, int *fd)
{
	struct backend_command *c = command_running(b, q->serial);
	struct loop_key key = {.kind = BACKEND_OUTPUT, .slot = q->serial};

	if (!c || c->fd >= 0 || c->closed)
		return 0; /* of a run that was given up */
	c->fd = take_fd(fd);
	return loop_watch(b->loop, c->fd, key, EPOLLIN);
}

int backend_command_end(struct backends *b, const struct rpc_command_run *q)
{
	struct backend_command *c = command_running(b, q->serial);

	if (!c || c->ended)
		return 0;
	c->ended = true;
	c->end.rc = q->rc;
	c->end.status = q->status;
	/* Its output may still be held open by something it left behind: what counts is there by now. */
	if (!c->closed && c->fd >= 0)
		backend_on_output(b, c->serial, 0);
	if (c->serial == q->serial) /* that has not judged it */
		command_judge(b, c);
	return 0;
}

void backends_forget(struct backends *b)
{
	struct backend_command *c;

	for (c = b->commands; c; c = c->next)
		if (!c->serial) {
			c->value = secret_free(c->value);
			c->until_ms = 0;
		}
}

static void command_free(struct backends *b, struct backend_command *c)
{
	struct backend_command **at = &b->commands;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	(void)err_set(&c->why, 0, "its command was taken away");
	c->ttl_s = 0;
	command_fail(b, c, -ENOENT, 0);
	free(c);
}

int backend_set_command(struct backends *b, const struct rpc_command *q)
{
	struct backend_command *c;

	if (!rpc_str_ok(q->workspace, sizeof(q->workspace)) || !rules_workspace_ok(q->workspace) ||
	    !rpc_str_ok(q->name, sizeof(q->name)) || !rules_name_ok(q->name))
		return -EPROTO;
	c = command_find(b, q->workspace, q->name);
	if (c)
		command_free(b, c); /* another command's value is another value */
	if (!q->there)
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	memcpy(c->workspace, q->workspace, sizeof(c->workspace));
	memcpy(c->name, q->name, sizeof(c->name));
	c->ttl_s = q->ttl_s;
	c->timeout_s = q->timeout_s;
	c->fd = -1;
	c->next = b->commands;
	b->commands = c;
	return 0;
}

int backend_command_turn(struct backends *b, uint64_t now_ms)
{
	struct backend_command *c;
	int wait = -1;

	for (c = b->commands; c; c = c->next) {
		uint64_t at = c->serial ? c->deadline_ms : c->value ? c->until_ms : 0;

		if (c->serial && at <= now_ms) {
			(void)err_set(&c->why, 0, "its command did not end in time");
			command_fail(b, c, -ETIMEDOUT, 0);
			continue;
		}
		if (at && at <= now_ms)
			c->value = secret_free(c->value);
		else if (at && (wait < 0 || at - now_ms < (uint64_t)wait))
			wait = (int)(at - now_ms < 60000 ? at - now_ms : 60000);
	}
	return wait;
}

void backend_commands_done(struct backends *b)
{
	while (b->commands)
		command_free(b, b->commands);
}
