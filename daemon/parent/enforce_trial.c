/* enforce_trial.c: for doctor.c. See enforce.h, enforce_in.h. */
#include "enforce_in.h"

#include "egress.skel.h"
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

int enforce_mountable(const struct config *c, struct err *e)
{
	char path[] = "/tmp/agentsecrets-doctor-XXXXXX";
	int rc;

	if (enforce_is_bpffs(c->bpffs))
		return 0;
	if (!mkdtemp(path))
		return err_set(e, -errno, "a directory in /tmp cannot be made: %s",
			       strerror(errno));
	rc = enforce_mount_bpffs(path, e);
	if (!rc)
		(void)umount2(path, MNT_DETACH);
	(void)rmdir(path);
	return rc;
}

int enforce_trial(const struct config *c, int parent_fd, struct enforce **ret, struct err *e)
{
	struct enforce *en = enforce_new();
	int rc;

	if (!en)
		return err_set(e, -ENOMEM, "out of memory");
	rc = enforce_load(en, c->explicit_port, NULL, 0, e);
	if (!rc) {
		en->paths = c->unix_paths == CONFIG_PATHS_ALLOWED;
		en->slice = fcntl(parent_fd, F_DUPFD_CLOEXEC, 3);
		rc = levels_open(en->skel->obj, parent_fd, NULL, LEVELS_WANT_UNIX, &en->levels, e);
	}
	if (rc) {
		(void)enforce_close(en);
		return rc;
	}
	*ret = en;
	return 0;
}

int enforce_trial_listen(struct enforce *en, int cgroup_fd, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < ENFORCE_LISTENERS; i++)
		rc = links_attach(enforce_program(en, &enforce_listeners[i]), cgroup_fd,
				  &en->listen[i], e);
	return rc;
}

int enforce_trial_guard(struct enforce *en, int cgroup_fd, struct eg_guard *state, bool wall_only,
			struct err *e)
{
	size_t rows = wall_only ? 2 : ENFORCE_PROGRAMS; /* skb_out, skb_in */
	struct guard_links *g;
	struct stat st;
	int rc;

	if (fstat(cgroup_fd, &st) != 0)
		return err_set(e, -errno, "the scratch cgroup cannot be read: %s", strerror(errno));
	state->id = st.st_ino;
	g = enforce_add(en, &(struct guard_links){.id = st.st_ino});
	rc = enforce_start_quota(en, g->id, e);
	for (size_t i = 0; !rc && i < rows; i++) {
		rc = links_attach(enforce_program(en, &enforce_programs[i]), cgroup_fd, &g->link[i],
				  e);
		if (!rc)
			rc = links_in_force(enforce_program(en, &enforce_programs[i]),
					    enforce_programs[i].type, cgroup_fd, e);
	}
	return rc ? rc : enforce_open_state(en, state, e);
}
