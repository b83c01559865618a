/* workspaces.c: see workspaces.h.
 *
 * Order of a change: the keeper signs the new bytes → the trusted copy is written (.sig.new, .json, .sig) → version
 * file → the administrator's copy → memory → children. A crash in between leaves a pair that verifies: the reader
 * tries .sig, then .sig.new. Whatever does not verify is never half used.
 */
#include "workspaces.h"

#include "fdio.h"
#include "guards.h"
#include "log.h"
#include "proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const char workspaces_doc[] = "allowlist.json";

static void workspaces_free(struct workspace *w)
{
	w->rules = rules_free(w->rules);
	free(w->doc);
	*w = (struct workspace){0};
}

void workspaces_done(struct parent *p)
{
	size_t i;

	for (i = 0; i < PARENT_WORKSPACES_MAX; i++)
		workspaces_free(&p->workspaces[i]);
}

struct workspace *workspaces_find(struct parent *p, const char *name)
{
	size_t i;

	for (i = 0; i < PARENT_WORKSPACES_MAX; i++)
		if (p->workspaces[i].rules && strcmp(p->workspaces[i].rules->workspace, name) == 0)
			return &p->workspaces[i];
	return NULL;
}

/* ---- reading ---- */

/* Reads <base>.json with <base>.sig (or what a crash left of it) and checks everything but the version. */
static int workspaces_read(struct parent *p, int dirfd, const char *doc_name, const char *sig_name,
			   const char *want, struct workspace *ret, struct err *e)
{
	const char *const suffix[] = {"", ".new"};
	struct workspace w = {0};
	char name[256];
	size_t i, n;
	int rc = fdio_read_file(dirfd, doc_name, RPC_DOC_MAX, &w.doc, &w.doc_len);

	if (rc < 0)
		return err_set(e, rc, "%s cannot be read: %s", doc_name, strerror(-rc));
	rc = -EBADMSG;
	for (i = 0; i < ARRAY_SIZE(suffix) && rc < 0; i++) {
		auto_free char *sig = NULL;

		(void)snprintf(name, sizeof(name), "%s%s", sig_name, suffix[i]);
		if (fdio_read_file(dirfd, name, SIGN_SIG_LEN, &sig, &n) < 0 || n != SIGN_SIG_LEN)
			continue;
		memcpy(w.sig, sig, SIGN_SIG_LEN);
		rc = sign_verify(p->public_key, w.doc, w.doc_len, w.sig);
	}
	if (rc < 0)
		(void)err_set(
			e, rc,
			"%s does not carry a good signature of this installation's key: it was altered, or "
			"signed elsewhere",
			doc_name);
	if (rc == 0)
		rc = rules_parse(w.doc, w.doc_len, true, &w.rules, e);
	if (rc == 0 && strcmp(w.rules->workspace, want) != 0)
		rc = err_set(e, -EBADMSG, "%s is the document of workspace %s", doc_name,
			     w.rules->workspace);
	if (rc < 0)
		workspaces_free(&w);
	else
		*ret = w;
	return rc;
}

static int workspaces_version(struct parent *p, const char *name, uint64_t *ret)
{
	auto_free char *text = NULL;
	char *end;
	size_t n;
	int rc = fdio_read_file(p->trust_dir, name, 32, &text, &n);

	if (rc < 0)
		return rc;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno || end == text || (*end && *end != '\n') ? -EBADMSG : 0;
}

static int workspaces_read_trusted(struct parent *p, const char *name, struct workspace *ret,
				   struct err *e)
{
	char doc[RPC_WORKSPACE_MAX + 8], sig[RPC_WORKSPACE_MAX + 8];

	(void)snprintf(doc, sizeof(doc), "%s.json", name);
	(void)snprintf(sig, sizeof(sig), "%s.sig", name);
	return workspaces_read(p, p->trust_dir, doc, sig, name, ret, e);
}

static int workspaces_read_given(struct parent *p, const char *name, struct workspace *ret,
				 struct err *e)
{
	auto_close int dir = openat(p->workspaces_dir, name,
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return err_set(e, -errno, "workspaces/%s cannot be opened: %s", name,
			       strerror(errno));
	return workspaces_read(p, dir, workspaces_doc, "allowlist.sig", name, ret, e);
}

/* ---- writing ---- */

static int workspaces_write_pair(int dirfd, const char *doc_name, const char *sig_name,
				 const struct workspace *w)
{
	char fresh[256];
	int rc;

	(void)snprintf(fresh, sizeof(fresh), "%s.new", sig_name);
	rc = fdio_replace(dirfd, fresh, w->sig, SIGN_SIG_LEN, 0600);
	if (rc == 0)
		rc = fdio_replace(dirfd, doc_name, w->doc, w->doc_len, 0600);
	if (rc == 0 && renameat(dirfd, fresh, dirfd, sig_name) < 0)
		rc = -errno;
	return rc;
}

static int workspaces_write_version(struct parent *p, const struct workspace *w)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)w->rules->version);

	return fdio_replace(p->trust_dir, w->rules->workspace, text, (size_t)n, 0600);
}

static int workspaces_write_trusted(struct parent *p, const struct workspace *w)
{
	char doc[RPC_WORKSPACE_MAX + 8], sig[RPC_WORKSPACE_MAX + 8];
	int rc;

	(void)snprintf(doc, sizeof(doc), "%s.json", w->rules->workspace);
	(void)snprintf(sig, sizeof(sig), "%s.sig", w->rules->workspace);
	rc = workspaces_write_pair(p->trust_dir, doc, sig, w);
	return rc < 0 ? rc : workspaces_write_version(p, w);
}

static int workspaces_write_given(struct parent *p, const struct workspace *w)
{
	auto_close int dir = -1;

	if (mkdirat(p->workspaces_dir, w->rules->workspace, 0700) < 0 && errno != EEXIST)
		return -errno;
	dir = openat(p->workspaces_dir, w->rules->workspace,
		     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return dir < 0 ? -errno : workspaces_write_pair(dir, workspaces_doc, "allowlist.sig", w);
}

/* ---- at start ---- */

/* The last good one, then the given one if it is as good and not older. */
static int workspaces_load_one(struct parent *p, const char *name, struct workspace *w)
{
	struct workspace given = {0}, trusted = {0};
	struct err eg = {0}, et = {0};
	uint64_t seen = 0;
	bool good = workspaces_read_given(p, name, &given, &eg) == 0;
	bool last = workspaces_read_trusted(p, name, &trusted, &et) == 0;

	if (workspaces_version(p, name, &seen) < 0 && last)
		seen = trusted.rules->version;
	if (good && given.rules->version < seen) {
		(void)err_set(
			&eg, 0,
			"it has version %llu, and %llu was seen before: an older document is refused",
			(unsigned long long)given.rules->version, (unsigned long long)seen);
		workspaces_free(&given);
		good = false;
	}
	if (last && trusted.rules->version < seen) {
		workspaces_free(&trusted);
		last = false;
	}
	if (good && (!last || given.rules->version > trusted.rules->version)) {
		*w = given;
		workspaces_free(&trusted);
		return workspaces_write_trusted(p, w);
	}
	if (!good && last)
		log_error("workspace %s: %s; refused, version %llu stays in force", name, eg.text,
			  (unsigned long long)trusted.rules->version);
	if (!good && !last)
		log_error(
			"workspace %s: %s; there is no good document of it: everything in it is denied",
			name, eg.text);
	workspaces_free(&given);
	*w = trusted;
	return last ? 0 : -EBADMSG;
}

int workspaces_load(struct parent *p, struct err *e)
{
	int fd = fcntl(p->workspaces_dir, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	size_t n = 0;

	if (!d) {
		own_close(&fd);
		return err_set(e, -errno, "cannot read %s/workspaces: %s", p->cfg.state_dir,
			       strerror(errno));
	}
	rewinddir(d);
	while ((de = readdir(d))) {
		if (!rules_workspace_ok(de->d_name))
			continue;
		if (n == PARENT_WORKSPACES_MAX) {
			log_error(
				"more than %d workspaces; %s is not loaded: everything in it is denied",
				PARENT_WORKSPACES_MAX, de->d_name);
			continue;
		}
		if (workspaces_load_one(p, de->d_name, &p->workspaces[n]) == 0)
			n++;
	}
	(void)closedir(d);
	for (n = 0; n < PARENT_WORKSPACES_MAX; n++)
		if (p->workspaces[n].rules)
			guards_rules_changed(p, &p->workspaces[n], false);
	return 0;
}

/* ---- telling ---- */

static int workspaces_memfd(const struct workspace *w)
{
	return fdio_memfd("workspace", w->doc, w->doc_len, w->sig, SIGN_SIG_LEN);
}

static void workspaces_describe(const struct workspace *w, struct rpc_workspace *msg)
{
	*msg = (struct rpc_workspace){.version = w->rules->version, .doc_len = w->doc_len};
	(void)snprintf(msg->workspace, sizeof(msg->workspace), "%s", w->rules->workspace);
}

int workspaces_tell(struct parent *p, struct proc *to)
{
	size_t i;
	int rc = 0;

	for (i = 0; i < PARENT_WORKSPACES_MAX && rc == 0; i++) {
		const struct workspace *w = &p->workspaces[i];
		auto_close int fd = w->rules ? workspaces_memfd(w) : -1;
		struct rpc_workspace msg;

		if (!w->rules)
			continue;
		if (fd < 0)
			return fd;
		workspaces_describe(w, &msg);
		rc = rpc_send(to->boss.fd, RPC_WORKSPACE, 0, &msg, sizeof(msg), NULL, 0, fd);
	}
	return rc;
}

/* closed: the document closes an address that the one before opened. */
static int workspaces_tell_all(struct parent *p, const struct workspace *w, bool closed)
{
	auto_close int fd = workspaces_memfd(w);
	struct rpc_workspace msg;

	if (fd < 0)
		return fd;
	workspaces_describe(w, &msg);
	proc_tell(p, RPC_WORKSPACE, &msg, sizeof(msg), fd, true);
	guards_rules_changed(p, w, closed);
	return 0;
}

void workspaces_secrets_changed(struct parent *p)
{
	size_t i;

	for (i = 0; i < PARENT_WORKSPACES_MAX; i++) {
		struct rpc_secret_ref ref = {0};

		if (!p->workspaces[i].rules)
			continue;
		(void)snprintf(ref.workspace, sizeof(ref.workspace), "%s", p->workspaces[i].rules->workspace);
		proc_tell_role(p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
	}
}

/* ---- changes ---- */

/* Signs w's bytes; the keeper reads them itself and refuses a document that is not what the message says. */
static int workspaces_sign(struct parent *p, struct workspace *w, struct err *e)
{
	auto_close int fd = fdio_memfd("document", w->doc, w->doc_len, NULL, 0);
	auto_free char *sig = NULL;
	struct rpc_workspace msg;
	int rc;

	if (fd < 0)
		return err_set(e, fd, "memfd: %s", strerror(-fd));
	workspaces_describe(w, &msg);
	rc = proc_ask(p, RPC_SIGN_DOC, &msg, sizeof(msg), fd, SIGN_SIG_LEN, &sig, NULL, e);
	if (rc < 0)
		return rc;
	memcpy(w->sig, sig, SIGN_SIG_LEN);
	rc = sign_verify(p->public_key, w->doc, w->doc_len, w->sig);
	return rc < 0 ? err_set(e, rc,
				"the keeper signed with another key than this installation's")
		      : 0;
}

/* Signs, writes, puts in force. r becomes part of *slot on success only. */
static int workspaces_put(struct parent *p, struct workspace *slot, struct rules *r, struct err *e)
{
	struct workspace w = {.rules = r};
	bool closes = slot->rules && guards_closes(slot->rules, r);
	int rc = rules_write(r, &w.doc, &w.doc_len, e);

	if (rc == 0)
		rc = workspaces_sign(p, &w, e);
	if (rc == 0) {
		rc = workspaces_write_trusted(p, &w);
		if (rc == 0)
			rc = workspaces_write_given(p, &w);
		if (rc < 0)
			(void)err_set(e, rc, "cannot write below %s: %s; what was in force stays",
				      p->cfg.state_dir, strerror(-rc));
	}
	if (rc < 0) {
		free(w.doc);
		return rc;
	}
	rules_free(slot->rules);
	free(slot->doc);
	*slot = w;
	rc = workspaces_tell_all(p, slot, closes);
	return rc < 0 ? err_set(e, rc,
				"the document is signed and stored, but the processes were not told: %s; restart "
				"agentsecretsd",
				strerror(-rc))
		      : 0;
}

static void workspaces_now(char out[21])
{
	time_t now = time(NULL);
	struct tm tm;

	(void)gmtime_r(&now, &tm);
	(void)strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

int workspaces_create(struct parent *p, const char *name, uint32_t owner, struct err *e)
{
	struct workspace *slot = NULL;
	auto_(rules) struct rules *r = NULL;
	uint64_t seen = 0;
	char created[21];
	size_t i;
	int rc;

	if (workspaces_find(p, name))
		return err_set(e, -EEXIST, "there is a workspace %s already", name);
	for (i = 0; i < PARENT_WORKSPACES_MAX && !slot; i++)
		if (!p->workspaces[i].rules)
			slot = &p->workspaces[i];
	if (!slot)
		return err_set(e, -ENOSPC,
			       "there are %d workspaces, which is the most; delete one first",
			       PARENT_WORKSPACES_MAX);
	workspaces_now(created);
	r = rules_new(name, owner, created);
	if (!r)
		return err_set(e, -ENOMEM, "out of memory");
	/* A workspace made anew goes on counting, so that the deleted one's documents stay refused. */
	if (workspaces_version(p, name, &seen) < 0)
		seen = 0;
	r->version = seen + 1;
	rc = workspaces_put(p, slot, r, e);
	if (rc == 0)
		r = NULL;
	return rc;
}

int workspaces_copy(const struct workspace *w, struct rules **ret, struct err *e)
{
	return rules_parse(w->doc, w->doc_len, true, ret, e);
}

int workspaces_commit(struct parent *p, struct workspace *w, struct rules *changed,
		      uint64_t *ret_version, struct err *e)
{
	auto_(rules) struct rules *r = NULL;
	auto_free char *text = NULL;
	size_t len;
	int rc;

	changed->version = w->rules->version + 1;
	workspaces_now(changed->created);
	rc = rules_write(changed, &text, &len, e);
	if (rc == 0)
		rc = rules_parse(text, len, true, &r, e);
	if (rc == 0)
		rc = workspaces_put(p, w, r, e);
	if (rc < 0)
		return rc;
	r = NULL;
	*ret_version = w->rules->version;
	return 0;
}

int workspaces_delete(struct parent *p, const char *name, struct err *e)
{
	struct workspace *w = workspaces_find(p, name);
	char doc[RPC_WORKSPACE_MAX + 8], sig[RPC_WORKSPACE_MAX + 8];
	struct rpc_workspace msg;
	auto_close int dir = -1;
	size_t guards;
	int rc;

	if (!w)
		return err_set(e, -ENOENT, "there is no workspace %s", name);
	guards = guards_of_workspace(p, name);
	if (guards)
		return err_set(
			e, -EBUSY,
			"workspace %s is used by %zu guard%s; end them first (agentsecrets cgroup list)",
			name, guards, guards == 1 ? "" : "s");
	workspaces_describe(w, &msg);
	rc = proc_ask(p, RPC_WORKSPACE_DROP, &msg, sizeof(msg), -1, 0, NULL, NULL, e);
	if (rc < 0)
		return rc;
	proc_tell(p, RPC_WORKSPACE_GONE, &msg, sizeof(msg), -1, true);
	/* The version stays in trust/: see workspaces_create. */
	(void)snprintf(doc, sizeof(doc), "%s.json", name);
	(void)snprintf(sig, sizeof(sig), "%s.sig", name);
	(void)unlinkat(p->trust_dir, doc, 0);
	(void)unlinkat(p->trust_dir, sig, 0);
	dir = openat(p->workspaces_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0) {
		(void)unlinkat(dir, workspaces_doc, 0);
		(void)unlinkat(dir, "allowlist.sig", 0);
	}
	if (unlinkat(p->workspaces_dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		log_warn("workspaces/%s is not empty; left as it is", name);
	workspaces_free(w);
	return 0;
}

int workspaces_verify(struct parent *p, const struct workspace *w, struct err *e)
{
	struct workspace given = {0};
	int rc = workspaces_read_given(p, w->rules->workspace, &given, e);

	if (rc < 0)
		return err_in(e, rc, "refused, version %llu stays in force",
			      (unsigned long long)w->rules->version);
	if (given.doc_len != w->doc_len || memcmp(given.doc, w->doc, w->doc_len) != 0)
		rc = err_set(
			e, -ESTALE,
			"%s/workspaces/%s/%s is version %llu, but version %llu is in force; an older document is "
			"refused, and a newer one is taken when agentsecretsd starts",
			p->cfg.state_dir, w->rules->workspace, workspaces_doc,
			(unsigned long long)given.rules->version,
			(unsigned long long)w->rules->version);
	workspaces_free(&given);
	return rc;
}

/* ---- the caller's current one ---- */

void workspaces_current(struct parent *p, uid_t uid, char out[RPC_WORKSPACE_MAX])
{
	auto_free char *text = NULL;
	char name[16];
	size_t n;

	out[0] = '\0';
	(void)snprintf(name, sizeof(name), "%u", uid);
	if (fdio_read_file(p->current_dir, name, RPC_WORKSPACE_MAX - 1, &text, &n) < 0)
		return;
	if (rules_workspace_ok(text) && workspaces_find(p, text))
		(void)snprintf(out, RPC_WORKSPACE_MAX, "%s", text);
}

int workspaces_use(struct parent *p, uid_t uid, const char *name, struct err *e)
{
	char file[16];
	int rc;

	(void)snprintf(file, sizeof(file), "%u", uid);
	rc = fdio_replace(p->current_dir, file, name, strlen(name), 0600);
	return rc < 0 ? err_set(e, rc, "cannot write below %s/current: %s", p->cfg.state_dir,
				strerror(-rc))
		      : 0;
}
