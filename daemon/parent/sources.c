/* sources.c: see sources.h. What is kept is small and read as it is, JSON; nothing of it is secret, and all of it is
 * root's to write. A directory's changes are seen by inotify(7), and its replacement by another by looking once a second.
 */
#include "sources.h"

#include "commands.h"
#include "fdio.h"
#include "log.h"
#include "proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define SOURCES_FILE     "sources.json"
#define SOURCES_SIZE_MAX (4u << 20)
#define SOURCES_LOOK_MS  1000
#define SOURCES_EVENTS                                                                             \
	(IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_CLOSE_WRITE | IN_ATTRIB |        \
	 IN_ONLYDIR)

/* ---- the file ---- */

int sources_load(struct parent *p, struct err *e)
{
	auto_free char *text = NULL;
	size_t n = 0;
	int rc = fdio_read_file(p->state_dir, SOURCES_FILE, SOURCES_SIZE_MAX, &text, &n);

	p->sources = rc == -ENOENT ? json_pack("{s:{}, s:{}}", "workspaces", "commands")
				   : json_loadb(rc == 0 ? text : "", rc == 0 ? n : 0,
						JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(json_object_get(p->sources, "workspaces")) ||
	    !json_is_object(json_object_get(p->sources, "commands")))
		return err_set(e, -EBADMSG,
			       "%s/" SOURCES_FILE " cannot be read; restore it from your backup",
			       p->cfg.state_dir);
	p->dirs = json_object();
	p->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (p->watch_fd < 0)
		return err_set(e, -errno, "inotify: %s", strerror(errno));
	rc = loop_watch(&p->loop, p->watch_fd, (struct loop_key){.kind = PARENT_WATCH}, EPOLLIN);
	return rc < 0 ? err_set(e, rc, "epoll: %s", strerror(-rc)) : 0;
}

void sources_done(struct parent *p)
{
	json_decref(take(p->sources));
	json_decref(take(p->dirs));
	own_close(&p->watch_fd);
}

/* Writes `next` down and takes it up; else all stays as it was. */
static int sources_keep(struct parent *p, json_t *next, struct err *e)
{
	auto_free char *text = next ? json_dumps(next, JSON_SORT_KEYS | JSON_INDENT(1)) : NULL;
	int rc = text ? fdio_replace(p->state_dir, SOURCES_FILE, text, strlen(text), 0600)
		      : -ENOMEM;

	if (rc < 0) {
		json_decref(next);
		return err_set(e, rc, "cannot write %s/" SOURCES_FILE ": %s; nothing was changed",
			       p->cfg.state_dir, strerror(-rc));
	}
	json_decref(p->sources);
	p->sources = next;
	return 0;
}

/* ---- places ---- */

int sources_check(const char *backend, struct err *e)
{
	if (strcmp(backend, "file") == 0 || strcmp(backend, "secret-service") == 0)
		return 0;
	if (strncmp(backend, "dir:/", 5) == 0 && strlen(backend) < CONFIG_PATH_MAX)
		return 0;
	return err_set(
		e, -EINVAL,
		"a workspace's values are in: file (the vault), secret-service, or dir:/absolute/path");
}

const char *sources_backend(const struct parent *p, const char *workspace)
{
	const char *s = json_string_value(json_object_get(
		json_object_get(json_object_get(p->sources, "workspaces"), workspace), "backend"));

	return s ? s : "file";
}

static int sources_send(struct parent *p, uint16_t op, const void *body, size_t size, int fd)
{
	struct proc *keeper = &p->procs[PROC_KEEPER];

	return keeper->boss.fd < 0 ? -EPIPE
				   : rpc_send(keeper->boss.fd, op, 0, body, size, NULL, 0, fd);
}

/* What tells one directory from another; 0: there is none. */
static json_int_t sources_identity(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0
		       ? (json_int_t)((uint64_t)st.st_ino ^ (uint64_t)st.st_dev << 40)
		       : 0;
}

/* The directory is opened here, whoever may read it there. */
static int sources_tell_dir(struct parent *p, const char *workspace, const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct rpc_place q = {.kind = RPC_PLACE_MOUNTED};

	(void)snprintf(q.workspace, sizeof(q.workspace), "%s", workspace);
	(void)json_object_set_new(p->dirs, workspace, json_integer(sources_identity(fd)));
	if (fd < 0) {
		log_warn(
			"the directory %s of workspace %s: %s; requests that need its secrets are refused",
			path, workspace, strerror(errno));
		return sources_send(p, RPC_PLACE, &q, sizeof(q), -1);
	}
	if (inotify_add_watch(p->watch_fd, path, SOURCES_EVENTS) < 0)
		log_warn(
			"the directory %s cannot be watched (%s): changes are looked for once a second",
			path, strerror(errno));
	return sources_send(p, RPC_PLACE_DIR, &q, sizeof(q), fd);
}

static int sources_tell_place(struct parent *p, const char *workspace)
{
	const char *backend = sources_backend(p, workspace);
	struct rpc_place q = {.kind = RPC_PLACE_FILE};

	if (strncmp(backend, "dir:", 4) == 0)
		return sources_tell_dir(p, workspace, backend + 4);
	(void)snprintf(q.workspace, sizeof(q.workspace), "%s", workspace);
	if (strcmp(backend, "secret-service") == 0)
		q.kind = RPC_PLACE_SECRET_SERVICE;
	return sources_send(p, RPC_PLACE, &q, sizeof(q), -1);
}

/* Another value may be there: proxies drop what they have. */
static void sources_changed(struct parent *p, const char *workspace)
{
	struct rpc_secret_ref ref = {0};

	(void)snprintf(ref.workspace, sizeof(ref.workspace), "%s", workspace);
	proc_tell_role(p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
}

int sources_set(struct parent *p, const char *workspace, const char *backend, struct err *e)
{
	json_t *next;
	int rc = sources_check(backend, e);

	if (rc < 0 || strcmp(sources_backend(p, workspace), backend) == 0)
		return rc;
	next = json_deep_copy(p->sources);
	if (strcmp(backend, "file") == 0)
		(void)json_object_del(json_object_get(next, "workspaces"), workspace);
	else
		(void)json_object_set_new(json_object_get(next, "workspaces"), workspace,
					  json_pack("{s:s}", "backend", backend));
	rc = sources_keep(p, next, e);
	if (rc == 0 && sources_tell_place(p, workspace) < 0)
		rc = err_set(e, -EPIPE, "the keeper is gone; it is being started again");
	return rc;
}

int sources_drop(struct parent *p, const char *workspace, struct err *e)
{
	json_t *next = json_deep_copy(p->sources), *list = json_object_get(next, "commands"), *v;
	size_t len = strlen(workspace);
	const char *key;
	void *tmp;
	int rc;

	json_object_foreach_safe(list, tmp, key,
				 v) if (strncmp(key, workspace, len) == 0 && key[len] == '/')
	{
		struct rpc_command q = {0};

		(void)snprintf(q.workspace, sizeof(q.workspace), "%s", workspace);
		(void)snprintf(q.name, sizeof(q.name), "%s", key + len + 1);
		if (sources_send(p, RPC_COMMAND, &q, sizeof(q), -1) < 0)
			log_warn("the keeper was not told that %s has no command any more", key);
		(void)json_object_del(list, key);
	}
	(void)json_object_del(json_object_get(next, "workspaces"), workspace);
	rc = sources_keep(p, next, e);
	return rc == 0 && sources_tell_place(p, workspace) < 0
		       ? err_set(e, -EPIPE, "the keeper is gone")
		       : rc;
}

/* ---- commands ---- */

json_t *sources_find(const struct parent *p, const char *workspace, const char *name)
{
	char key[RPC_WORKSPACE_MAX + RPC_NAME_MAX];

	(void)snprintf(key, sizeof(key), "%s/%s", workspace, name);
	return json_object_get(json_object_get(p->sources, "commands"), key);
}

bool sources_has(const struct parent *p, const char *workspace, const char *name)
{
	return sources_find(p, workspace, name) != NULL;
}

static int sources_tell_command(struct parent *p, const char *workspace, const char *name)
{
	const json_t *spec = sources_find(p, workspace, name);
	struct rpc_command q = {.there = spec != NULL};

	(void)snprintf(q.workspace, sizeof(q.workspace), "%s", workspace);
	(void)snprintf(q.name, sizeof(q.name), "%s", name);
	q.ttl_s = (uint32_t)json_integer_value(json_object_get(spec, "ttl"));
	q.timeout_s = (uint32_t)json_integer_value(json_object_get(spec, "timeout"));
	return sources_send(p, RPC_COMMAND, &q, sizeof(q), -1);
}

int sources_command(struct parent *p, const char *workspace, const char *name, json_t *spec,
		    struct err *e)
{
	char key[RPC_WORKSPACE_MAX + RPC_NAME_MAX];
	json_t *next;
	int rc;

	if (!spec && !sources_has(p, workspace, name))
		return 0;
	(void)snprintf(key, sizeof(key), "%s/%s", workspace, name);
	next = json_deep_copy(p->sources);
	if (spec)
		(void)json_object_set(json_object_get(next, "commands"), key, spec);
	else
		(void)json_object_del(json_object_get(next, "commands"), key);
	rc = sources_keep(p, next, e);
	if (rc == 0 && sources_tell_command(p, workspace, name) < 0)
		rc = err_set(e, -EPIPE, "the keeper is gone; it is being started again");
	return rc;
}

/* ---- telling ---- */

int sources_tell(struct parent *p)
{
	json_t *list = json_object_get(p->sources, "workspaces"), *v;
	const char *key;
	int rc = 0;

	json_object_foreach(list, key, v)
		if (rc == 0)
			rc = sources_tell_place(p, key);
	list = json_object_get(p->sources, "commands");
	json_object_foreach(list, key, v) {
		char workspace[RPC_WORKSPACE_MAX];
		const char *slash = strchr(key, '/');

		if (rc < 0 || !slash || (size_t)(slash - key) >= sizeof(workspace))
			continue;
		(void)snprintf(workspace, sizeof(workspace), "%.*s", (int)(slash - key), key);
		rc = sources_tell_command(p, workspace, slash + 1);
	}
	return rc;
}

int sources_helper(struct parent *p, const char *workspace, int *ret_fd, struct err *e)
{
	struct rpc_place q = {.kind = RPC_PLACE_SECRET_SERVICE};
	auto_close int ours = -1, theirs = -1;
	int pair[2], rc = rpc_pair(pair);

	if (rc < 0)
		return err_set(e, rc, "socketpair: %s", strerror(-rc));
	ours = pair[0];
	theirs = pair[1];
	(void)snprintf(q.workspace, sizeof(q.workspace), "%s", workspace);
	rc = sources_send(p, RPC_PLACE_HELPER, &q, sizeof(q), ours);
	if (rc < 0)
		return err_set(e, rc, "the keeper is gone; it is being started again");
	sources_changed(p, workspace);
	*ret_fd = take_fd(&theirs);
	return 0;
}

/* ---- directories ---- */

/* Whatever happened in one of them: every workspace that has one is looked at again. Swaps are rare. */
void sources_on_watch(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;
	json_t *list = json_object_get(p->sources, "workspaces"), *v;
	char buf[4096] __attribute__((aligned(8)));
	const char *key;

	(void)slot;
	(void)gen;
	(void)events;
	while (read(p->watch_fd, buf, sizeof(buf)) > 0)
		;
	json_object_foreach(list, key, v)
		if (strncmp(sources_backend(p, key), "dir:", 4) == 0)
			sources_changed(p, key);
}

/* Is it still the directory that was handed over: a mount may have come over it, or it was made anew. */
static void sources_look(struct parent *p)
{
	json_t *list = json_object_get(p->sources, "workspaces"), *v;
	const char *key;

	json_object_foreach(list, key, v) {
		const char *backend = sources_backend(p, key);
		auto_close int fd = -1;

		if (strncmp(backend, "dir:", 4) != 0)
			continue;
		fd = open(backend + 4, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (sources_identity(fd) == json_integer_value(json_object_get(p->dirs, key)))
			continue;
		if (sources_tell_dir(p, key, backend + 4) < 0)
			log_warn("the keeper was not told of another directory of workspace %s",
				 key);
		sources_changed(p, key);
	}
}

int sources_turn(struct parent *p, uint64_t now_ms)
{
	int wait = commands_turn(p, now_ms);

	if (json_object_size(json_object_get(p->sources, "workspaces")) == 0)
		return wait;
	if (p->looked_ms + SOURCES_LOOK_MS <= now_ms) {
		sources_look(p);
		p->looked_ms = now_ms;
	}
	return wait < 0 || wait > SOURCES_LOOK_MS ? SOURCES_LOOK_MS : wait;
}
