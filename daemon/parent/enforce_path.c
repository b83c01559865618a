/* enforce_path.c: programs of others on the way from a cgroup to the root. See enforce.h, enforce_in.h. */
#include "enforce_in.h"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static void name_of(uint32_t id, char out[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);
	auto_close int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
		info.name[0] = '\0';
	(void)snprintf(out, BPF_OBJ_NAME_LEN, "%s", info.name[0] ? info.name : "unnamed");
}

/* A program that was attached to this very directory without ALLOW_MULTI is either in our way (exclusive)
 * or would be put out of force below it by ours (ALLOW_OVERRIDE). */
static int check_exclusive_at(const struct enforce *en, int dir, struct err *e)
{
	char name[BPF_OBJ_NAME_LEN];

	for (size_t i = 0; i < ENFORCE_ROWS; i++) {
		uint32_t ids[LINKS_EFFECTIVE_MAX], count = LINKS_EFFECTIVE_MAX, flags = 0;

		if (!enforce_wanted(en, false, i))
			continue;
		if (bpf_prog_query(dir, (enum bpf_attach_type)enforce_row(i)->type, 0, &flags, ids,
				   &count) != 0)
			return err_set(e, -errno, "the programs of the cgroup cannot be read: %s",
				       strerror(errno));
		if (count == 0 || (flags & BPF_F_ALLOW_MULTI))
			continue;
		name_of(ids[0], name);
		return err_set(
			e, -EPERM,
			"the BPF program \"%s\" (id %u) is attached to this cgroup or one "
			"above it and allows no other; for a systemd unit, remove IPAddressAllow= and "
			"IPAddressDeny= or set Delegate=yes",
			name, ids[0]);
	}
	return 0;
}

/* The cgroup itself and each directory above it that is still on cgroup2. */
int enforce_check_path(struct enforce *en, int cgroup_fd, struct err *e)
{
	auto_close int dir = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;
	struct stat st, up;
	int rc;

	for (int i = 0; i < ENFORCE_DEPTH_MAX; i++) {
		auto_close int above = -1;

		if (dir < 0 || fstat(dir, &st) != 0)
			return err_set(e, -errno, "the cgroup cannot be read: %s", strerror(errno));
		rc = check_exclusive_at(en, dir, e);
		if (rc)
			return rc;
		above = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (above < 0 || fstat(above, &up) != 0 || fstatfs(above, &fs) != 0)
			return err_set(e, -errno, "the cgroup's parent cannot be read: %s",
				       strerror(errno));
		if (up.st_dev != st.st_dev || up.st_ino == st.st_ino ||
		    (unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC)
			return 0;
		own_close(&dir);
		dir = take_fd(&above);
	}
	return err_set(e, -ELOOP, "the cgroup lies more than %d levels deep", ENFORCE_DEPTH_MAX);
}
