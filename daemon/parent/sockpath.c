/* sockpath.c: see sockpath.h. One component at a time, by descriptor, so that what was checked is what is used. */
#include "sockpath.h"

#include "own.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LINKS_MAX 16

uint32_t sockpath_dev(dev_t dev)
{
	return major(dev) << 20 | minor(dev);
}

static int dir_check(int dir, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(dir, &st) != 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return err_set(
			e, -EPERM,
			"%s: a directory on the way is not root's alone, so somebody else could put "
			"another socket there",
			path);
	return 0;
}

/* What is to be walked after a link: its target, then the rest. */
static int follow(int dir, const char *name, char rest[PATH_MAX], const char *path, struct err *e)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
	int len;

	if (n <= 0)
		return err_set(e, -ENOENT, "%s: a link on the way cannot be read", path);
	target[n] = '\0';
	len = snprintf(joined, sizeof(joined), "%s/%s", target, rest);
	if (len < 0 || (size_t)len >= sizeof(joined))
		return err_set(e, -ENAMETOOLONG, "%s: a link on the way is too long", path);
	memcpy(rest, joined, (size_t)len + 1);
	return 0;
}

static int open_at(int dir, const char *name)
{
	return openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int sockpath_find(int top, const char *path, struct stat *ret, struct err *e)
{
	auto_close int dir = open_at(top, ".");
	char rest[PATH_MAX];
	int rc = dir_check(dir, path, e), links = 0;

	if (rc || (size_t)snprintf(rest, sizeof(rest), "%s", path) >= sizeof(rest))
		return rc ? rc : -ENAMETOOLONG;
	while (rest[0]) {
		char name[NAME_MAX + 1];
		size_t n = strcspn(rest, "/"), skip = n + strspn(rest + n, "/");
		auto_close int next = -1;
		struct stat st;

		if (n > NAME_MAX)
			return err_set(e, -ENAMETOOLONG, "%s is too long", path);
		memcpy(name, rest, n);
		name[n] = '\0';
		memmove(rest, rest + skip, strlen(rest + skip) + 1);
		if (!n) { /* absolute: the path itself, or a link's target */
			next = open_at(top, ".");
		} else {
			if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
				return err_set(e, -errno, "%s: %s", path, strerror(errno));
			if (S_ISLNK(st.st_mode)) {
				rc = ++links > LINKS_MAX
					     ? err_set(e, -ELOOP, "%s: too many links", path)
					     : follow(dir, name, rest, path, e);
				if (rc)
					return rc;
				continue;
			}
			if (!rest[0] && S_ISSOCK(st.st_mode)) {
				*ret = st;
				return 0;
			}
			if (!S_ISDIR(st.st_mode))
				break;
			next = open_at(dir, name);
		}
		rc = next < 0 ? err_set(e, -errno, "%s: %s", path, strerror(errno))
			      : dir_check(next, path, e);
		if (rc)
			return rc;
		own_close(&dir);
		dir = take_fd(&next);
	}
	return err_set(e, -ENOTSOCK, "%s is no socket", path);
}
