/* backend_dir.c: a directory of files, one per secret, as Kubernetes mounts a Secret.
 *
 * The directory comes as a descriptor; nothing outside it can be named: openat2(2) with RESOLVE_BENEATH, which follows
 * the links that such a mount consists of (KEY -> ..data/KEY, ..data -> ..2026_11_28_…) as long as they stay below
 * it. A file is opened for each read, so that an update, which swaps ..data, is in force with the next one.
 * The keeper's own user reads: who mounts the directory must let it.
 */
#include "backend.h"

#include "fdio.h"
#include "rules.h"
#include "wr.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int dir_open(int dir, const char *name)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int dir_read(const struct backend_place *p, const char *name, struct secret **ret,
		    struct err *e)
{
	auto_close int fd = dir_open(p->dir, name);
	struct stat st;
	int rc;

	if (fd == -ENOENT)
		return err_set(e, fd, "the directory of workspace %s has no file %s", p->workspace,
			       name);
	if (fd < 0)
		return err_set(e, fd, "file %s of workspace %s: %s", name, p->workspace,
			       fd == -EXDEV ? "it leads out of the directory" : strerror(-fd));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, -EBADMSG, "file %s of workspace %s is not a regular file", name,
			       p->workspace);
	/* A regular file is always ready: this waits for nothing. */
	rc = secret_read_fd(fd, RPC_SECRET_MAX, 0, 1000, ret, e);
	return rc < 0 ? err_in(e, rc, "file %s of workspace %s", name, p->workspace) : 0;
}

/* Names that a secret may have; the rest (..data, notes) is somebody else's. */
static int dir_names(const struct backend_place *p, struct wr *w, struct err *e)
{
	int fd = openat(p->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d) {
		own_close(&fd);
		return err_set(e, -errno, "cannot list the directory of workspace %s: %s",
			       p->workspace, strerror(errno));
	}
	while ((de = readdir(d)))
		if (rules_name_ok(de->d_name))
			wr_bytes(w, de->d_name, strlen(de->d_name) + 1);
	(void)closedir(d);
	return w->full ? err_set(e, -E2BIG,
				 "the names in the directory of workspace %s do not fit in one answer",
				 p->workspace)
		       : 0;
}

static void dir_list(const struct backend_place *p, struct backend_ask *a)
{
	auto_free char *names = malloc(RPC_TAIL_MAX);
	struct wr w = wr_of(names, RPC_TAIL_MAX);
	struct err e = {0};
	struct backend_answer r = {.rc = names ? dir_names(p, &w, &e)
					       : err_set(&e, -ENOMEM, "out of memory"),
				   .names = names,
				   .names_len = w.len};

	r.why = e.text;
	a->fn(a, &r);
}

void backend_dir_ask(struct backends *b, struct backend_place *p, struct backend_ask *a)
{
	struct secret *value = NULL;
	struct err e = {0};
	int rc = 0;

	switch (a->op) {
	case BACKEND_READ:
		rc = p->dir < 0
			     ? err_set(&e, -ENODEV, "the directory of workspace %s is not there",
				       p->workspace)
			     : dir_read(p, a->name, &value, &e);
		b->stats->dir_reads += rc == 0;
		break;
	case BACKEND_LIST:
		dir_list(p, a);
		return;
	case BACKEND_DROP:
		break;
	case BACKEND_SET:
	case BACKEND_DELETE:
		rc = err_set(
			&e, -EROFS,
			"the values of workspace %s are files of a mounted directory; change them there",
			p->workspace);
		break;
	}
	backend_answer(a, rc, value, &e);
}
