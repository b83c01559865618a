/* vaultdisk.c: see vaultdisk.h. */
#include "vaultdisk.h"

#include "fdio.h"
#include "vaultrec.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NEW VAULT_FILE ".new"

static ssize_t io_write(void *ctx, int fd, const void *p, size_t len)
{
	(void)ctx;
	return write(fd, p, len);
}

static int io_fsync(void *ctx, int fd)
{
	(void)ctx;
	return fsync(fd);
}

static int io_rename(void *ctx, int dirfd, const char *from, const char *to)
{
	(void)ctx;
	return renameat(dirfd, from, dirfd, to);
}

static int io_create(void *ctx, int dirfd, const char *name)
{
	(void)ctx;
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return -1;
	return openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static const struct vault_io io_real = {
	.write = io_write,
	.fsync = io_fsync,
	.rename = io_rename,
	.create = io_create,
};

static int write_new(const struct vaultdisk *d, const uint8_t *p, size_t len)
{
	auto_close int fd = d->io.create(d->io.ctx, d->dirfd, NEW);

	if (fd < 0)
		return -errno;
	while (len > 0) {
		ssize_t n = d->io.write(d->io.ctx, fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return d->io.fsync(d->io.ctx, fd) < 0 ? -errno : 0;
}

int vaultdisk_put(const struct vaultdisk *d, const char *name, const uint8_t *p, size_t len,
		  bool *ret_there)
{
	int rc = write_new(d, p, len);

	*ret_there = false;
	if (rc < 0)
		return rc;
	if (d->io.rename(d->io.ctx, d->dirfd, NEW, name) < 0)
		return -errno;
	*ret_there = true;
	return d->io.fsync(d->io.ctx, d->dirfd) < 0 ? -errno : 0;
}

int vaultdisk_open(struct vaultdisk *d, int dirfd, const struct vault_io *io, struct err *e)
{
	d->io = io ? *io : io_real;
	d->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	if (d->dirfd < 0)
		return err_set(e, -errno, "cannot keep the vault's directory: %s", strerror(errno));
	return 0;
}

bool vaultdisk_empty(const struct vaultdisk *d)
{
	struct stat st;

	return fstatat(d->dirfd, VAULT_FILE, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT &&
	       fstatat(d->dirfd, VAULT_BACKUP, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}

int vaultdisk_load(int dirfd, char **ret, size_t *ret_len, struct err *e)
{
	auto_close int fd = openat(dirfd, VAULT_FILE,
				   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	int rc;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT,
			       "there is no vault; if there was one, put its copy " VAULT_BACKUP
			       " in its place, else run: agentsecrets init");
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -errno, "cannot open the vault: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EBADMSG, "the vault is not a regular file");
	if (st.st_size > (off_t)VAULTREC_FILE_MAX)
		return err_set(e, -EBADMSG,
			       "the vault file is too long to be one; nothing was touched");
	rc = fdio_read_all(fd, (size_t)st.st_size, ret, ret_len);
	if (rc < 0)
		return err_set(e, rc, "cannot read the vault: %s", strerror(-rc));
	return 0;
}
