/* guards_unix.c: the unix sockets outside that a workspace's guards may reach: what its document names, looked up. See
 * guards.h, guards_in.h.
 *
 * A socket's inode and a cgroup's id change when a service is started again, so both are looked up once a second as
 * long as any workspace names one. What is not there, or could be replaced by somebody else than root, is no exception.
 */
#include "guards_in.h"

#include "cgroup.h"
#include "enforce.h"
#include "log.h"
#include "sockpath.h"
#include "workspaces.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static bool guards_unix_path(const char *path, struct enforce_exempt *out, struct err *e)
{
	auto_close int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st, mounts;
	struct statfs fs;

	if (sockpath_find(top, path, &st, e) < 0)
		return false;
	if (statfs(path, &fs) == 0 && (unsigned long)fs.f_type == OVERLAYFS_SUPER_MAGIC)
		return err_set(e, -ENOTSUP,
			       "%s is on an overlay file system, whose inodes say nothing; put it on another",
			       path) == 0;
	*out = (struct enforce_exempt){
		.key = {.kind = EG_UNIX_INODE, .dev = sockpath_dev(st.st_dev), .id = st.st_ino}};
	if (stat("/proc/self/ns/mnt", &mounts) != 0)
		return true;
	out->mounts = mounts.st_ino;
	out->path.family = AF_UNIX;
	memcpy(out->path.path, path, strlen(path)); /* at most 107: rulesform.c */
	return true;
}

static bool guards_unix_cgroup(const char *path, struct enforce_exempt *out, struct err *e)
{
	char mount[CONFIG_PATH_MAX], full[CONFIG_PATH_MAX + RULES_PEER_LEN];
	auto_close int fd = -1;
	uint64_t id;

	if (cgroup_mount(mount, sizeof(mount), e) < 0)
		return false;
	(void)snprintf(full, sizeof(full), "%s%s", mount, path);
	if (cgroup_open_path(full, &fd, &id, e) < 0)
		return false;
	*out = (struct enforce_exempt){.key = {.kind = EG_UNIX_CGROUP, .id = id}};
	return true;
}

bool guards_unix_look(const char *peer, struct enforce_exempt *out, struct err *e)
{
	const size_t word = sizeof(RULES_PEER_CGROUP) - 1;

	return strncmp(peer, RULES_PEER_CGROUP, word) == 0 ? guards_unix_cgroup(peer + word, out, e)
							   : guards_unix_path(peer, out, e);
}

void guards_unix(struct parent *p, const struct guard *g, const struct workspace *w)
{
	struct enforce_exempt list[RULES_PEERS_MAX];
	size_t n = 0;

	for (uint32_t i = 0; i < w->rules->peer_count; i++)
		n += guards_unix_look(w->rules->peers[i], list + n, NULL);
	if (enforce_exempt(p->en, g->id, list, n) < 0)
		log_error("guard %s: the kernel did not take up the unix sockets of its workspace: of new ones some are "
			  "refused, of old ones some may be open still; end the guard to be sure",
			  g->name);
}

void guards_unix_sweep(struct parent *p)
{
	for (size_t i = 0; i < EG_GUARDS_MAX; i++) {
		const struct workspace *w = p->guards[i].id
						    ? workspaces_find(p, p->guards[i].workspace)
						    : NULL;

		if (w && w->rules->peer_count)
			guards_unix(p, &p->guards[i], w);
	}
}
