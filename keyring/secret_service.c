/* secret_service.c: agentsecrets-secret-service: answers the keeper from the keyring of the user whose session it runs in.
 *
 *	agentsecrets-secret-service [--control SOCKET] [WORKSPACE]
 *
 * The workspace's values are in that user's keyring (Secret Service API, libsecret), one item each, with the attributes
 * `workspace` and `name`. This program, and no part of the daemon, links GLib and speaks D-Bus. It asks the daemon for
 * a channel, which it gets if it runs as the workspace's owner, and then does what it is asked on it: look up, store,
 * delete, list. It never asks for a keyring to be unlocked: a prompt that nobody expects is answered by habit. A locked
 * one is an answer (-ENOLCK), and the next question looks again. It ends when the daemon or the session does.
 *
 * The same user's programs could ask the keyring themselves. Those of agents cannot where unix sockets are guarded (L2).
 */
#include "rpc.h"

#include <jansson.h>
#include <libsecret/secret.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#define DEFAULT_CONTROL "/run/agentsecrets/control.sock"
#define ANSWER_MAX      65536

static const SecretSchema schema = {
	.name = "dev.agentsecrets.Secret",
	.flags = SECRET_SCHEMA_NONE,
	.attributes = {{"workspace", SECRET_SCHEMA_ATTRIBUTE_STRING},
		       {"name", SECRET_SCHEMA_ATTRIBUTE_STRING}},
};

static const char *sentence_of(const GError *e)
{
	return e ? e->message : "no reason was given";
}

static __attribute__((format(printf, 1, 2))) int fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fputs("agentsecrets-secret-service: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
	va_end(ap);
	return 1;
}

/* ---- the keyring ---- */

static GHashTable *attributes_of(const struct rpc_secret_ref *q)
{
	GHashTable *t = g_hash_table_new(g_str_hash, g_str_equal);

	(void)g_hash_table_insert(t, (gpointer) "workspace", (gpointer)(uintptr_t)q->workspace);
	if (q->name[0])
		(void)g_hash_table_insert(t, (gpointer) "name", (gpointer)(uintptr_t)q->name);
	return t;
}

/* Not through libsecret's ready-made lookup, which would have it unlocked. */
static int search(SecretService *service, const struct rpc_secret_ref *q, SecretSearchFlags flags,
		  GList **ret)
{
	GHashTable *attributes = attributes_of(q);
	GError *error = NULL;

	*ret = secret_service_search_sync(service, &schema, attributes, SECRET_SEARCH_ALL | flags,
					  NULL, &error);
	g_hash_table_unref(attributes);
	if (!error)
		return 0;
	(void)fail("the keyring does not answer: %s", sentence_of(error));
	g_error_free(error);
	return -EIO;
}

static int done_with(GList *items, int rc)
{
	g_list_free_full(items, g_object_unref);
	return rc;
}

static int look_up(SecretService *service, const struct rpc_secret_ref *q, SecretValue **ret)
{
	GList *items = NULL;
	int rc = search(service, q, SECRET_SEARCH_LOAD_SECRETS, &items);

	if (rc < 0)
		return rc;
	if (!items)
		return -ENOENT;
	if (secret_item_get_locked(items->data))
		return done_with(items, -ENOLCK);
	*ret = secret_item_get_secret(items->data);
	return done_with(items, *ret ? 0 : -EIO);
}

/* Where new items go; it must be there and open. */
static int default_open(SecretService *service)
{
	GError *error = NULL;
	SecretCollection *c = secret_collection_for_alias_sync(
		service, SECRET_COLLECTION_DEFAULT, SECRET_COLLECTION_NONE, NULL, &error);
	int rc = error ? -EIO : !c ? -ENODEV : secret_collection_get_locked(c) ? -ENOLCK : 0;

	g_clear_error(&error);
	if (c)
		g_object_unref(c);
	return rc;
}

static int store(SecretService *service, const struct rpc_secret_ref *q, const uint8_t *value,
		 size_t len)
{
	SecretValue *v;
	GHashTable *attributes;
	GError *error = NULL;
	char label[256];
	int rc = default_open(service);

	if (rc < 0)
		return rc;
	v = secret_value_new((const char *)value, (gssize)len, "text/plain");
	attributes = attributes_of(q);
	(void)snprintf(label, sizeof(label), "%s (agentsecrets, workspace %s)", q->name,
		       q->workspace);
	if (!secret_service_store_sync(service, &schema, attributes, SECRET_COLLECTION_DEFAULT,
				       label, v, NULL, &error)) {
		(void)fail("%s was not stored: %s", q->name, sentence_of(error));
		rc = -EIO;
	}
	g_clear_error(&error);
	g_hash_table_unref(attributes);
	secret_value_unref(v);
	return rc;
}

static int erase(SecretService *service, const struct rpc_secret_ref *q)
{
	GList *items = NULL, *at;
	GError *error = NULL;
	int rc = search(service, q, SECRET_SEARCH_NONE, &items);

	if (rc == 0 && !items)
		rc = -ENOENT;
	for (at = items; at && rc == 0; at = at->next)
		if (secret_item_get_locked(at->data))
			rc = -ENOLCK;
		else if (!secret_item_delete_sync(at->data, NULL, &error))
			rc = -EIO;
	if (error)
		(void)fail("%s was not deleted: %s", q->name, sentence_of(error));
	g_clear_error(&error);
	return done_with(items, rc);
}

static int list(SecretService *service, const struct rpc_secret_ref *q, char *out, size_t cap,
		size_t *ret_len)
{
	GList *items = NULL, *at;
	size_t len = 0;
	int rc = search(service, q, SECRET_SEARCH_NONE, &items);

	for (at = items; at && rc == 0; at = at->next) {
		GHashTable *attributes = secret_item_get_attributes(at->data);
		const char *name = g_hash_table_lookup(attributes, "name");
		size_t n = name ? strlen(name) + 1 : 0;

		if (n > cap - len)
			rc = -E2BIG;
		else if (n > 1) {
			memcpy(out + len, name, n);
			len += n;
		}
		g_hash_table_unref(attributes);
	}
	*ret_len = len;
	return done_with(items, rc);
}

/* ---- the channel ---- */

static int answer(int sock, uint32_t id, int rc, const void *tail, size_t len)
{
	struct rpc_head head = {.op = RPC_HELPER_DONE, .id = id};
	struct rpc_done done = {.rc = rc, .tail_len = (uint32_t)len};
	struct iovec iov[3] = {
		{&head, sizeof(head)}, {&done, sizeof(done)}, {(void *)(uintptr_t)tail, len}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};

	return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* A keyring that was started anew knows nothing of the one before's sessions. */
static int connect_keyring(SecretService **service)
{
	GError *error = NULL;

	if (*service) {
		g_object_unref(*service);
		secret_service_disconnect();
	}
	*service = secret_service_get_sync(SECRET_SERVICE_OPEN_SESSION, NULL, &error);
	if (!*service)
		(void)fail("there is no keyring in this session: %s", sentence_of(error));
	g_clear_error(&error);
	return *service ? 0 : -EIO;
}

/* A question's outcome. */
struct outcome {
	SecretValue *value;     /* GET */
	char names[ANSWER_MAX]; /* LIST */
	size_t len;
};

static int carry_out(SecretService *service, uint16_t op, const struct rpc_secret_ref *q,
		     const uint8_t *tail, size_t len, struct outcome *o)
{
	switch (op) {
	case RPC_HELPER_GET:
		return look_up(service, q, &o->value);
	case RPC_HELPER_SET:
		return store(service, q, tail, len);
	case RPC_HELPER_DELETE:
		return erase(service, q);
	default:
		return list(service, q, o->names, sizeof(o->names), &o->len);
	}
}

/* One question; negative: the channel is of no use any more. */
static int serve(int sock, SecretService **service, const uint8_t *buf, size_t len)
{
	static struct outcome o;
	struct rpc_head head;
	struct rpc_secret_ref q;
	const void *bytes = o.names;
	size_t tail;
	gsize size;
	int rc;

	o.value = NULL;
	o.len = 0;

	if (len < sizeof(head) + sizeof(q))
		return -EPROTO;
	memcpy(&head, buf, sizeof(head));
	memcpy(&q, buf + sizeof(head), sizeof(q));
	tail = len - sizeof(head) - sizeof(q);
	if (!memchr(q.workspace, '\0', sizeof(q.workspace)) ||
	    !memchr(q.name, '\0', sizeof(q.name)) || (tail > 0) != (head.op == RPC_HELPER_SET))
		return -EPROTO;
	if (head.op < RPC_HELPER_GET || head.op > RPC_HELPER_LIST)
		return -EPROTO;
	rc = *service ? carry_out(*service, head.op, &q, buf + len - tail, tail, &o) : -EIO;
	if (rc == -EIO && connect_keyring(service) == 0)
		rc = carry_out(*service, head.op, &q, buf + len - tail, tail, &o);
	if (o.value) {
		bytes = secret_value_get(o.value, &size);
		o.len = size;
	}
	rc = answer(sock, head.id, rc, bytes, rc == 0 ? o.len : 0);
	if (o.value)
		secret_value_unref(o.value);
	return rc;
}

static int serve_all(int sock)
{
	static uint8_t buf[RPC_BUF] __attribute__((aligned(8)));
	SecretService *service = NULL;
	int rc = 0;

	if (connect_keyring(&service) < 0)
		return 1;
	(void)mlock(buf, sizeof(buf));
	while (rc >= 0) {
		struct pollfd w = {.fd = sock, .events = POLLIN};
		ssize_t n;

		if (poll(&w, 1, -1) < 0 && errno != EINTR)
			return fail("poll: %s", strerror(errno));
		while (g_main_context_iteration(NULL, FALSE)) /* what the bus has said meanwhile */
			;
		n = recv(sock, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0) {
			(void)fputs(
				"agentsecrets-secret-service: the daemon has closed the channel; ending\n",
				stderr);
			return 0;
		}
		rc = serve(sock, &service, buf, (size_t)n);
		explicit_bzero(buf, (size_t)n);
	}
	return fail("the channel failed: %s", strerror(-rc));
}

/* ---- asking for the channel ---- */

static int dial(const char *control)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(control) >= sizeof(sa.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sa.sun_path, control, strlen(control) + 1);
	return sock < 0 || connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -1 : sock;
}

static int hear(int sock, char *line, size_t cap, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	size_t len = 0;

	while (len < cap - 1 && !memchr(line, '\n', len)) {
		struct iovec iov = {line + len, cap - 1 - len};
		struct msghdr m = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = &control,
				   .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
		struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

		if (n <= 0)
			return -EPIPE;
		if (c && c->cmsg_type == SCM_RIGHTS && *ret_fd < 0)
			memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
		len += (size_t)n;
	}
	line[len] = '\0';
	return 0;
}

static int ask(const char *control, const char *workspace, int *ret_fd)
{
	json_t *q = json_pack("{s:s}", "op", "keyring.serve"), *a = NULL;
	static char line[ANSWER_MAX];
	int sock = dial(control), ok = 0;
	char *text = NULL;

	if (sock < 0)
		return fail("agentsecretsd does not answer at %s: %s", control, strerror(errno));
	if (workspace)
		(void)json_object_set_new(q, "workspace", json_string(workspace));
	text = json_dumps(q, JSON_COMPACT);
	if (text && dprintf(sock, "%s\n", text) > 0 && hear(sock, line, sizeof(line), ret_fd) == 0)
		a = json_loads(line, 0, NULL);
	ok = json_is_true(json_object_get(a, "ok")) && *ret_fd >= 0;
	if (!ok)
		(void)fail("%s", json_string_value(json_object_get(a, "error"))
					 ? json_string_value(json_object_get(a, "error"))
					 : "agentsecretsd's answer is not understood");
	else
		(void)fprintf(stderr, "agentsecrets-secret-service: answering for workspace %s\n",
			      json_string_value(json_object_get(a, "workspace")));
	free(text);
	json_decref(q);
	json_decref(a);
	(void)close(sock);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"Usage: agentsecrets-secret-service [--control SOCKET] [WORKSPACE]\n\n"
		"Answers agentsecretsd from the keyring of the session it runs in, for a workspace of yours that was\n"
		"made with --backend secret-service. Without WORKSPACE: the one in use. Ends with the session.\n";
	const char *control = getenv("AGENTSECRETS_CONTROL"), *workspace = NULL;
	const struct rlimit none = {0, 0};
	int fd = -1, i;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return fputs(usage, stdout) < 0;
		if (strcmp(argv[i], "--version") == 0)
			return printf("agentsecrets-secret-service %s\n", AGENTSECRETS_VERSION) < 0;
		if (strcmp(argv[i], "--control") == 0 && i + 1 < argc) {
			control = argv[++i];
		} else if (argv[i][0] == '-' || workspace) {
			(void)fputs(usage, stderr);
			return 2;
		} else {
			workspace = argv[i];
		}
	}
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fail("cannot switch core dumps off: %s", strerror(errno));
	if (ask(control && *control ? control : DEFAULT_CONTROL, workspace, &fd))
		return 1;
	return serve_all(fd);
}
