/* ops_log.c: requests about the audit log.
 *
 * Rotating: the log's name gets another file in one step (rename(2)), so that it is always there. Each writer is then given
 * that file and a new chain; the old chains' lengths are the new file's first lines. Whatever fails before the step leaves
 * all as it was; a writer that cannot go on in the new file ends, or refuses everything, as with any line it cannot write.
 */
#include "ops_in.h"

#include "heads.h"
#include "jdoc.h"
#include "log.h"
#include "proc.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int ops_log_open(struct ops *o)
{
	auto_close int fd = open(o->p->cfg.audit_log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return err_set(o->e, -errno, "cannot open %s: %s", o->p->cfg.audit_log,
			       strerror(errno));
	ops_set(o, "path", json_string(o->p->cfg.audit_log));
	*o->fd_out = take_fd(&fd);
	return 0;
}

int ops_log_key(struct ops *o)
{
	const char *writer = NULL, *epoch = NULL;
	struct rpc_audit_key key = {0};
	auto_free char *bytes = NULL;
	char hex[65];
	int rc = jdoc_str(o->in, "writer", &writer, o->e);

	if (rc == 0)
		rc = jdoc_str(o->in, "epoch", &epoch, o->e);
	if (rc < 0)
		return rc;
	if (!writer || !*writer || strlen(writer) >= sizeof(key.writer) || !epoch ||
	    sign_unhex(epoch, strlen(epoch), key.epoch, sizeof(key.epoch)) < 0)
		return err_set(o->e, -EINVAL,
			       "log.key needs a writer and its epoch, 32 hex digits");
	(void)snprintf(key.writer, sizeof(key.writer), "%s", writer);
	rc = proc_ask(o->p, RPC_AUDIT_DERIVE, &key, sizeof(key), -1, 32, &bytes, NULL, o->e);
	if (rc < 0)
		return rc;
	sign_hex(bytes, 32, hex);
	explicit_bzero(bytes, 32);
	ops_set(o, "key", json_string(hex));
	explicit_bzero(hex, sizeof(hex));
	return 0;
}

int ops_log_heads(struct ops *o)
{
	json_t *list = heads_list(o->p);

	if (!list)
		return ops_oom(o);
	ops_set(o, "heads", list);
	return 0;
}

/* ---- rotating ---- */

struct ops_rotation {
	char kept[PATH_MAX], fresh[PATH_MAX]; /* the old file's new name; the new file's first one */
	int fd;
	struct rpc_audit_key own, keys[CONFIG_WORKERS_MAX]; /* by a proxy's number */
};

static int ops_rotation_names(struct ops *o, struct ops_rotation *r)
{
	const char *path = o->p->cfg.audit_log;
	time_t now = time(NULL);
	char stamp[32];
	struct tm tm;
	int n, m;

	if (!gmtime_r(&now, &tm) || strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm) == 0)
		return err_set(o->e, -EIO, "the clock says no time");
	n = snprintf(r->kept, sizeof(r->kept), "%s.%s", path, stamp);
	m = snprintf(r->fresh, sizeof(r->fresh), "%s.new", path);
	if (n < 0 || m < 0 || (size_t)n >= sizeof(r->kept) || (size_t)m >= sizeof(r->fresh))
		return err_set(o->e, -ENAMETOOLONG, "the name %s is too long for another beside it", path);
	return 0;
}

static int ops_rotation_keys(struct ops *o, struct ops_rotation *r)
{
	int rc = proc_audit_key(o->p, NULL, &r->own, o->e);

	for (size_t i = 0; rc == 0 && i < o->p->proc_count; i++) {
		const struct proc *c = &o->p->procs[i];

		if (c->role == PROC_PROXY)
			rc = proc_audit_key(o->p, c, &r->keys[c->number], o->e);
	}
	return rc;
}

static int ops_rotation_open(struct ops *o, struct ops_rotation *r)
{
	(void)unlink(r->fresh); /* of a daemon that was killed on the way */
	r->fd = open(r->fresh, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return r->fd < 0 ? err_set(o->e, -errno, "cannot make %s: %s", r->fresh, strerror(errno)) : 0;
}

/* Directory entries are on the disk before anybody writes by them. */
static void ops_rotation_sync(const char *path)
{
	char copy[PATH_MAX];
	auto_close int dir = -1;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fsync(dir) < 0)
		log_warn("the directory of %s is not on the disk: %s", path, strerror(errno));
}

static int ops_rotation_swap(struct ops *o, struct ops_rotation *r)
{
	const char *path = o->p->cfg.audit_log;
	int rc;

	if (link(path, r->kept) < 0 && errno != ENOENT)
		return err_set(o->e, -errno, "cannot keep the file so far as %s: %s", r->kept, strerror(errno));
	if (access(r->kept, F_OK) < 0)
		r->kept[0] = '\0'; /* somebody has moved it away already */
	if (rename(r->fresh, path) < 0) {
		rc = err_set(o->e, -errno, "cannot put a new file in the place of %s: %s", path, strerror(errno));
		if (r->kept[0])
			(void)unlink(r->kept);
		return rc;
	}
	ops_rotation_sync(path);
	return 0;
}

/* Everybody goes on in the new file. */
static int ops_rotation_renew(struct ops *o, struct ops_rotation *r)
{
	struct parent *p = o->p;
	char epoch[AUDIT_EPOCH_HEX + 1];
	uint64_t n = 0;
	int rc;

	(void)audit_recorded(p->audit, epoch);
	rc = audit_renew(p->audit, r->fd, &r->own, &n);
	if (rc == 0)
		rc = heads_renewed_own(p, epoch, n);
	for (size_t i = 0; i < p->proc_count; i++) {
		struct proc *c = &p->procs[i];

		if (c->role == PROC_PROXY)
			proc_tell_one(p, c, RPC_AUDIT_RENEW, &r->keys[c->number], sizeof(r->keys[0]), r->fd);
	}
	return rc < 0 ? err_set(o->e, rc, "the audit log %s cannot be written: %s", p->cfg.audit_log, strerror(-rc)) : 0;
}

int ops_log_rotate(struct ops *o)
{
	struct ops_rotation *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return ops_oom(o);
	r->fd = -1;
	rc = ops_rotation_names(o, r);
	if (rc == 0)
		rc = ops_rotation_keys(o, r);
	if (rc == 0)
		rc = ops_rotation_open(o, r);
	if (rc == 0)
		rc = ops_audit(o, NULL, "log rotate: this file ends");
	if (rc == 0)
		rc = ops_rotation_swap(o, r);
	if (rc == 0)
		rc = ops_rotation_renew(o, r);
	else if (r->fd >= 0)
		(void)unlink(r->fresh);
	if (rc == 0 && r->kept[0])
		ops_set(o, "kept", json_string(r->kept));
	own_close(&r->fd);
	explicit_bzero(r, sizeof(*r));
	free(r);
	return rc;
}
