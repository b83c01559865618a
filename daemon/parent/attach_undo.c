/* attach_undo.c: guards that attach.c made are found and ended. See attach.h. */
#include "attach_in.h"

#include "cgroup.h"
#include "guards.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

size_t attach_back(const struct guard *g)
{
	auto_close int origin = g->origin[0] ? open(g->origin, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
					     : -1;
	pid_t pids[256];
	size_t n = cgroup_pids(g->cgroup_fd, pids, ARRAY_SIZE(pids));

	for (int pass = 0; pass < ATTACH_PASSES && n && origin >= 0; pass++) {
		for (size_t i = 0; i < n; i++)
			(void)!cgroup_move(origin, pids[i], NULL);
		n = cgroup_pids(g->cgroup_fd, pids, ARRAY_SIZE(pids));
	}
	return n;
}

struct guard *attach_find(struct parent *p, const char *which, struct err *e)
{
	char path[PARENT_CGROUP_MAX], *end;
	unsigned long long number;
	struct guard *g;
	uint64_t id;

	errno = 0;
	number = strtoull(which, &end, 10);
	if (*which < '0' || *which > '9' || *end || errno) {
		(void)err_set(
			e, -EINVAL,
			"name a guard by its number (agentsecrets cgroup list) or by a process in it");
		return NULL;
	}
	g = guards_find(p, number);
	if (g || number > INT32_MAX || cgroup_of((pid_t)number, path, sizeof(path), &id, NULL) < 0)
		goto out;
	for (size_t i = 0; i < EG_GUARDS_MAX && !g; i++)
		if (p->guards[i].id && cgroup_within(p->guards[i].path, path))
			g = &p->guards[i];
out:
	if (!g)
		(void)err_set(
			e, -ENOENT,
			"there is no guard %s and no guarded process of that number; see: agentsecrets cgroup "
			"list",
			which);
	return g;
}

/* Marks come off those sockets that its processes still have. */
static void attach_unmark(struct parent *p, const struct guard *g)
{
	auto_free pid_t *pids = calloc(ATTACH_PIDS_MAX, sizeof(*pids));
	struct adopt_found found = {0};
	pid_t holder;
	size_t n;

	if (!pids || !p->adopt || !g->birth_count)
		return;
	n = cgroup_pids(g->cgroup_fd, pids, ATTACH_PIDS_MAX);
	qsort(pids, n, sizeof(*pids), tree_cmp_pid);
	if (adopt_look(p->adopt, pids, n, g->path, &found, &holder, NULL) == 0)
		adopt_leave(p->adopt, &found);
	adopt_found_done(&found);
}

int attach_undo(struct parent *p, struct guard *g, size_t *stay, struct err *e)
{
	if (!g->origin[0] && !g->in_place)
		return err_set(
			e, -EINVAL,
			"guard %s is that of an agentsecrets run and ends with the last process in it; end "
			"those",
			g->name);
	attach_unmark(p, g);
	*stay = g->in_place ? 0 : attach_back(g);
	guards_drop(p, g);
	return 0;
}
