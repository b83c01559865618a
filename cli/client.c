/* client.c: see client.h.
 *
 * One connection per question: connect, one line, one line back, end. The answer's length is bounded, a
 * silent daemon is given up after ANSWER_S, and an answer without "ok":true is a failure whatever else
 * it holds.
 */
#include "client.h"

#include "config.h"
#include "control.h"
#include "fdio.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define DEFAULT_CONTROL "/run/agentsecrets/control.sock"
#define ANSWER_S (3 * CONTROL_TIMEOUT_S)
#define CONFIG_BYTES_MAX 65536

static int use_path(struct cli *c, const char *path, const char *suffix, struct err *e)
{
	int n = snprintf(c->control, sizeof(c->control), "%s%s", path, suffix);

	if (path[0] != '/')
		return err_set(e, -EINVAL, "the control socket must be an absolute path, not \"%s\"", path);
	if (n < 0 || (size_t)n >= sizeof(c->control))
		return err_set(e, -ENAMETOOLONG,
			       "the control socket's path is longer than the %zu bytes that unix sockets allow",
			       sizeof(c->control) - 1);
	return 0;
}

/* Reads from the daemon's configuration only where its socket is; its other fields are its own matter. */
static int use_config(struct cli *c, const char *file, bool required, struct err *e)
{
	auto_free char *text = NULL;
	auto_json json_t *j = NULL;
	json_error_t why;
	auto_close int fd = open(file, O_RDONLY | O_CLOEXEC); /* may be a link: a mounted ConfigMap is */
	size_t len;
	int rc = fd < 0 ? -errno : fdio_read_all(fd, CONFIG_BYTES_MAX, &text, &len);

	if (rc && !required)
		return use_path(c, DEFAULT_CONTROL, "", e);
	if (rc)
		return err_set(e, rc, "cannot read the configuration %s: %s", file, strerror(-rc));
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(j))
		return err_set(e, -EINVAL, "%s is not a JSON object (line %d)", file, j ? 1 : why.line);
	if (client_text(j, "control")[0])
		return use_path(c, client_text(j, "control"), "", e);
	if (client_text(j, "run_dir")[0])
		return use_path(c, client_text(j, "run_dir"), "/control.sock", e);
	return use_path(c, DEFAULT_CONTROL, "", e);
}

int client_find(struct cli *c, const char *control, const char *config, struct err *e)
{
	const char *env = getenv("AGENTSECRETS_CONTROL");

	if (control)
		return use_path(c, control, "", e);
	if (config)
		return use_config(c, config, true, e);
	if (env && *env)
		return use_path(c, env, "", e);
	return use_config(c, CONFIG_DEFAULT_FILE, false, e);
}

json_t *client_request(const struct cli *c, const char *op, bool bound)
{
	auto_json json_t *j = json_pack("{s:s}", "op", op);

	if (!j)
		return NULL;
	if (bound && c->workspace && json_object_set_new(j, "workspace", json_string(c->workspace)))
		return NULL;
	return take(j);
}

json_t *client_with(json_t *request, const char *key, json_t *value)
{
	auto_json json_t *j = request;

	if (!j) {
		json_decref(value);
		return NULL;
	}
	return json_object_set_new(j, key, value) ? NULL : take(j);
}

static int dial(const struct cli *c, int *ret, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = ANSWER_S};
	auto_close int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = strlen(c->control);
	int rc;

	if (sock < 0)
		return err_set(e, -errno, "cannot make a socket: %s", strerror(errno));
	if (len >= sizeof(sa.sun_path))
		return err_set(e, -ENAMETOOLONG, "the control socket's path is too long");
	memcpy(sa.sun_path, c->control, len);
	(void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!connect(sock, (const struct sockaddr *)&sa, sizeof(sa))) {
		*ret = take_fd(&sock);
		return 0;
	}
	rc = -errno;
	if (rc == -ENOENT && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return err_set(e, rc, "no socket at %s; a program under `agentsecrets run` cannot reach the daemon", c->control);
	if (rc == -ENOENT || rc == -ENOTDIR)
		return err_set(e, rc, "agentsecretsd is not running (no socket at %s); start it with: "
			       "systemctl start agentsecretsd, or: agentsecretsd --config FILE", c->control);
	if (rc == -ECONNREFUSED)
		return err_set(e, rc, "agentsecretsd is not running (nobody listens at %s); start it with: "
			       "systemctl start agentsecretsd, or: agentsecretsd --config FILE", c->control);
	if (rc == -EACCES || rc == -EPERM)
		return err_set(e, rc, "you may not reach agentsecretsd at %s (%s); a program under "
			       "`agentsecrets run` never may, else ask who owns that directory", c->control,
			       strerror(-rc));
	return err_set(e, rc, "cannot reach agentsecretsd at %s: %s", c->control, strerror(-rc));
}

static int ask(int sock, const char *line, size_t len, int fd, struct err *e)
{
	int rc = fdio_send(sock, line, len, fd);

	if (rc && rc != -EPIPE) /* a daemon that refuses the caller answers without reading */
		return err_set(e, rc, "agentsecretsd did not take the request: %s", strerror(-rc));
	return 0;
}

/* One line, at most CONTROL_LINE_MAX, and at most one descriptor anywhere in it. */
static int listen_to(int sock, char *buf, size_t *ret_len, int *ret_fd, struct err *e)
{
	auto_close int got = -1;
	size_t len = 0;

	while (len < CONTROL_LINE_MAX && !memchr(buf, '\n', len)) {
		auto_close int fd = -1;
		ssize_t n = fdio_recv(sock, buf + len, CONTROL_LINE_MAX - len, 0, &fd);

		if (n == -EAGAIN || n == -EWOULDBLOCK)
			return err_set(e, -ETIMEDOUT, "agentsecretsd did not answer within %d seconds; see its "
				       "log: journalctl -u agentsecretsd", ANSWER_S);
		if (n < 0)
			return err_set(e, (int)n, "agentsecretsd's answer was cut: %s", strerror((int)-n));
		if (n == 0)
			return err_set(e, -EPIPE, "agentsecretsd closed the connection without an answer; see "
				       "its log: journalctl -u agentsecretsd");
		if (fd >= 0 && got >= 0)
			return err_set(e, -EPROTO, "agentsecretsd sent more than one descriptor");
		if (fd >= 0)
			got = take_fd(&fd);
		len += (size_t)n;
	}
	if (!memchr(buf, '\n', len))
		return err_set(e, -E2BIG, "agentsecretsd's answer is too long");
	*ret_len = (size_t)((char *)memchr(buf, '\n', len) - buf);
	*ret_fd = take_fd(&got);
	return 0;
}

static int understand(const char *buf, size_t len, json_t **ret, struct err *e)
{
	auto_json json_t *j = json_loadb(buf, len, JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(j))
		return err_set(e, -EPROTO, "agentsecretsd's answer is not understood; are the command and the "
			       "daemon of the same version?");
	if (!json_is_true(json_object_get(j, "ok")))
		return err_set(e, -EREMOTEIO, "%s", client_text(j, "error")[0] ? client_text(j, "error")
									       : "agentsecretsd refused");
	*ret = take(j);
	return 0;
}

int client_call(const struct cli *c, json_t *request, int fd, json_t **ret, int *ret_fd, struct err *e)
{
	auto_json json_t *owned = request;
	auto_close int sock = -1, got = -1;
	auto_free char *line = owned ? json_dumps(owned, JSON_COMPACT) : NULL;
	auto_free char *buf = malloc(CONTROL_LINE_MAX);
	size_t len;
	int rc;

	if (!line || !buf)
		return err_set(e, -ENOMEM, "out of memory, or an argument that is not UTF-8");
	len = strlen(line);
	if (len >= CONTROL_LINE_MAX)
		return err_set(e, -E2BIG, "that is too much for one command; give it in parts");
	rc = dial(c, &sock, e);
	if (rc)
		return rc;
	line[len] = '\n'; /* in place of the NUL: sent by length */
	rc = ask(sock, line, len + 1, fd, e);
	if (rc)
		return rc;
	rc = listen_to(sock, buf, &len, &got, e);
	if (rc)
		return rc;
	rc = understand(buf, len, ret, e);
	if (rc)
		return rc;
	if (json_is_true(json_object_get(*ret, "pending")))
		(void)fprintf(stderr, "agentsecrets: done, but not every process of the daemon has taken it up yet; see: "
				      "agentsecrets status\n");
	if (ret_fd)
		*ret_fd = take_fd(&got);
	return 0;
}

const char *client_text(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "";
}

json_int_t client_number(const json_t *obj, const char *key)
{
	return json_integer_value(json_object_get(obj, key));
}
