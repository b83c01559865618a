/* links.c: see links.h. Links are detached by BPF_LINK_DETACH, since the holder's duplicates would keep them
 * attached when ours is closed. */
#include "links.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

int links_cgroup(const struct bpf_link *link, uint64_t *ret)
{
	struct bpf_link_info info = {};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len) != 0)
		return -errno;
	*ret = info.cgroup.cgroup_id;
	return 0;
}

struct bpf_link *links_free(struct bpf_link *link)
{
	(void)bpf_link__destroy(link);
	return NULL;
}

struct bpf_link *links_detach(struct bpf_link *link)
{
	if (link)
		(void)bpf_link__detach(link);
	return links_free(link);
}

int links_attach(struct bpf_program *prog, int cgroup_fd, struct bpf_link **ret, struct err *e)
{
	struct bpf_link *link = bpf_program__attach_cgroup(prog, cgroup_fd);

	if (!link)
		return err_set(e, -errno, "the program %s cannot be attached: %s", bpf_program__name(prog),
			       strerror(errno));
	*ret = link;
	return 0;
}

int links_in_force(struct bpf_program *prog, uint32_t type, int cgroup_fd, struct err *e)
{
	uint32_t ids[LINKS_EFFECTIVE_MAX], count = LINKS_EFFECTIVE_MAX, len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {};

	if (bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len) != 0 ||
	    bpf_prog_query(cgroup_fd, (enum bpf_attach_type)type, BPF_F_QUERY_EFFECTIVE, NULL, ids, &count) != 0)
		return err_set(e, -errno, "the attached programs cannot be read back: %s", strerror(errno));
	for (uint32_t i = 0; i < count && i < LINKS_EFFECTIVE_MAX; i++)
		if (ids[i] == info.id)
			return 0;
	return err_set(e, -EPROTO, "the program %s was attached but is not in force", bpf_program__name(prog));
}

int links_pin(struct bpf_link *link, const char *dir, const char *name, struct err *e)
{
	char path[PATH_MAX];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (unlink(path) != 0 && errno != ENOENT)
		return err_set(e, -errno, "%s cannot be replaced: %s", path, strerror(errno));
	rc = bpf_link__pin(link, path);
	return rc ? err_set(e, rc, "%s cannot be pinned: %s", path, strerror(-rc)) : 0;
}

int links_take(struct bpf_program *prog, const char *dir, const char *name, uint64_t id, struct bpf_link **ret)
{
	struct bpf_link *link;
	char path[PATH_MAX];
	uint64_t at = 0;
	int rc;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	link = bpf_link__open(path);
	if (!link)
		return -errno;
	rc = links_cgroup(link, &at);
	if (!rc && at != id)
		rc = -ENOLINK;
	if (!rc)
		rc = bpf_link__update_program(link, prog);
	if (rc) {
		(void)links_free(link);
		return rc;
	}
	*ret = link;
	return 0;
}

void links_unpin(const char *dir, const struct links_row *rows, size_t count)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, rows[i].name);
		(void)unlink(path);
	}
}
