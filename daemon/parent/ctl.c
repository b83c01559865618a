/* ctl.c: see ctl.h. A connection reads one line, runs it, writes one line, and is closed. Reading and writing
 * never block the parent; a request itself may wait for the keeper. */
#include "ctl.h"

#include "fdio.h"
#include "guards.h"
#include "log.h"
#include "ops.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct ctl_conn {
	int fd, fd_in, fd_out;
	uint16_t gen;
	uint64_t deadline_ms;
	struct ops_caller who;
	size_t in_len, out_len, out_at;
	char *in;  /* CONTROL_LINE_MAX + 1 once the first byte came */
	char *out; /* the answer's line */
};

int ctl_open(struct parent *p, struct err *e)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int rc;

	if (strlen(p->cfg.control) >= sizeof(sa.sun_path))
		return err_set(e, -ENAMETOOLONG, "the path of the control socket is too long: %s",
			       p->cfg.control);
	memcpy(sa.sun_path, p->cfg.control, strlen(p->cfg.control) + 1);
	(void)unlink(sa.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    chmod(sa.sun_path, 0666) < 0 || listen(fd, 64) < 0)
		return err_set(e, -errno, "cannot listen on %s: %s", sa.sun_path, strerror(errno));
	rc = loop_watch(&p->loop, fd, (struct loop_key){.kind = PARENT_CONTROL_LISTEN}, EPOLLIN);
	if (rc < 0)
		return err_set(e, rc, "epoll: %s", strerror(-rc));
	p->control_fd = take_fd(&fd);
	return 0;
}

static void ctl_end(struct parent *p, size_t slot)
{
	struct ctl_conn *c = p->controls[slot];

	p->controls[slot] = NULL;
	own_close(&c->fd);
	own_close(&c->fd_in);
	own_close(&c->fd_out);
	if (c->in)
		explicit_bzero(c->in, CONTROL_LINE_MAX);
	free(c->in);
	free(c->out);
	free(c);
}

void ctl_close(struct parent *p)
{
	size_t i;

	for (i = 0; i < PARENT_CONTROLS_MAX; i++)
		if (p->controls[i])
			ctl_end(p, i);
	if (p->control_fd >= 0)
		(void)unlink(p->cfg.control);
	own_close(&p->control_fd);
}

int ctl_turn(struct parent *p, uint64_t now_ms)
{
	int wait = -1;
	size_t i;

	for (i = 0; i < PARENT_CONTROLS_MAX; i++) {
		struct ctl_conn *c = p->controls[i];

		if (!c)
			continue;
		if (c->deadline_ms <= now_ms)
			ctl_end(p, i);
		else if (wait < 0 || (uint64_t)wait > c->deadline_ms - now_ms)
			wait = (int)(c->deadline_ms - now_ms);
	}
	return wait;
}

/* ---- one connection ---- */

static void ctl_write(struct parent *p, size_t slot)
{
	struct ctl_conn *c = p->controls[slot];

	while (c->out_at < c->out_len) {
		ssize_t n;

		if (c->fd_out >= 0) {
			/* The descriptor goes with the first byte. */
			int rc = fdio_send(c->fd, c->out, 1, c->fd_out);

			n = rc < 0 ? rc : 1;
			errno = rc < 0 ? -rc : 0;
			own_close(&c->fd_out);
		} else {
			n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct loop_key key = {
				.kind = PARENT_CONTROL, .slot = (uint32_t)slot, .gen = c->gen};

			if (loop_change(&p->loop, c->fd, key, EPOLLOUT) == 0)
				return;
		}
		if (n < 0)
			break;
		c->out_at += (size_t)n;
	}
	ctl_end(p, slot);
}

static void ctl_answer(struct parent *p, size_t slot, json_t *answer, int rc, const struct err *e)
{
	struct ctl_conn *c = p->controls[slot];
	char *text;

	if (rc < 0) {
		json_object_clear(answer);
		(void)json_object_set_new(answer, "error",
					  json_string(e->text[0] ? e->text : strerror(-rc)));
		own_close(&c->fd_out);
	}
	(void)json_object_set_new(answer, "ok", json_boolean(rc == 0));
	text = json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII);
	if (!text || asprintf(&c->out, "%s\n", text) < 0) {
		free(text);
		c->out = NULL;
		ctl_end(p, slot);
		return;
	}
	free(text);
	c->out_len = strlen(c->out);
	ctl_write(p, slot);
}

/* A whole line is there. */
static void ctl_serve(struct parent *p, size_t slot, size_t len)
{
	struct ctl_conn *c = p->controls[slot];
	json_t *answer = json_object(), *request;
	json_error_t je;
	struct err e = {0};
	int rc = -EINVAL;

	if (!answer) {
		ctl_end(p, slot);
		return;
	}
	request = json_loadb(c->in, len, JSON_REJECT_DUPLICATES, &je);
	if (!json_is_object(request))
		(void)err_set(&e, rc, "the request is not one JSON object on one line");
	else
		rc = ops_run(p, &c->who, request, &c->fd_in, answer, &c->fd_out, &e);
	json_decref(request);
	ctl_answer(p, slot, answer, rc, &e);
	json_decref(answer);
}

static void ctl_refuse(struct parent *p, size_t slot, const char *sentence)
{
	json_t *answer = json_object();
	struct err e = {0};

	(void)err_set(&e, -EPERM, "%s", sentence);
	if (answer)
		ctl_answer(p, slot, answer, -EPERM, &e);
	else
		ctl_end(p, slot);
	json_decref(answer);
}

static void ctl_read(struct parent *p, size_t slot)
{
	struct ctl_conn *c = p->controls[slot];
	auto_close int fd = -1;
	char *newline;
	ssize_t n;

	if (!c->in)
		c->in = malloc(CONTROL_LINE_MAX + 1);
	if (!c->in) {
		ctl_end(p, slot);
		return;
	}
	n = fdio_recv(c->fd, c->in + c->in_len, CONTROL_LINE_MAX - c->in_len, MSG_DONTWAIT, &fd);
	if (n == -EAGAIN)
		return;
	if (n <= 0 || (fd >= 0 && c->fd_in >= 0)) {
		ctl_end(p, slot);
		return;
	}
	if (fd >= 0)
		c->fd_in = take_fd(&fd);
	newline = memchr(c->in + c->in_len, '\n', (size_t)n);
	c->in_len += (size_t)n;
	if (newline)
		ctl_serve(p, slot, (size_t)(newline - c->in));
	else if (c->in_len == CONTROL_LINE_MAX)
		ctl_refuse(p, slot, "the request is longer than 256 KiB");
}

void ctl_on_conn(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;
	struct ctl_conn *c = p->controls[slot];

	if (!c || c->gen != gen)
		return;
	if (c->out)
		ctl_write(p, slot);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		ctl_read(p, slot);
}

static void ctl_accept(struct parent *p, size_t slot, int *fd)
{
	struct loop_key key = {
		.kind = PARENT_CONTROL, .slot = (uint32_t)slot, .gen = ++p->control_gen[slot]};
	struct ctl_conn *c = calloc(1, sizeof(*c));
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (!c || getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
	    loop_watch(&p->loop, *fd, key, EPOLLIN) < 0) {
		free(c);
		return;
	}
	c->fd = take_fd(fd);
	c->fd_in = c->fd_out = -1;
	c->gen = key.gen;
	c->deadline_ms = loop_now_ms() + CONTROL_TIMEOUT_S * 1000;
	c->who = (struct ops_caller){.pid = cred.pid, .uid = cred.uid};
	p->controls[slot] = c;
	if (guards_holds(p, cred.pid)) {
		log_warn(
			"pid %d sits in a guarded cgroup and asked for the control socket; refused",
			(int)cred.pid);
		ctl_refuse(
			p, slot,
			"a guarded process may not talk to agentsecretsd; ask from outside the guard");
	}
}

void ctl_on_listen(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;
	size_t i;

	(void)slot;
	(void)gen;
	(void)events;
	for (i = 0; i < PARENT_CONTROLS_MAX; i++) {
		auto_close int fd = -1;

		if (p->controls[i])
			continue;
		fd = accept4(p->control_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		ctl_accept(p, i, &fd);
	}
}
