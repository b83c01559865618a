/* guards_restore.c: a daemon that starts and finds guards pinned. See guards.h, guards_in.h. */
#include "guards_in.h"

#include "cgroup.h"
#include "log.h"
#include "proc.h"
#include "tree.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int guards_held_take(struct guards_held *held, size_t count, const char *key)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (held[i].fd >= 0 && strcmp(held[i].key, key) == 0)
			return take_fd(&held[i].fd);
	return -1;
}

/* The namespace's listeners from the holder. */
static void guards_netns_restore(struct parent *p, uint64_t cookie, struct guards_held *held,
				 size_t count)
{
	struct netns_slot *n = guards_netns(p, cookie) ? NULL : guards_netns(p, 0);
	char key[64];

	if (!n)
		return;
	(void)snprintf(key, sizeof(key), "tcp/%llu/4", (unsigned long long)cookie);
	n->tcp4 = guards_held_take(held, count, key);
	(void)snprintf(key, sizeof(key), "tcp/%llu/6", (unsigned long long)cookie);
	n->tcp6 = guards_held_take(held, count, key);
	if (n->tcp4 >= 0)
		n->cookie = cookie;
	else
		own_close(&n->tcp6);
}

static void guards_dns_restore(struct guard *g, struct guards_held *held, size_t count)
{
	char key[64];
	size_t i;

	for (i = 0; i < NETNS_SOCKETS; i++) {
		(void)snprintf(key, sizeof(key), "dns/%llu/%s", (unsigned long long)g->id,
			       guards_dns_words[i]);
		g->dns[i] = guards_held_take(held, count, key);
	}
}

/* The holder was gone as well: listeners anew, through a process that still sits in the guard. */
static int guards_remake(struct parent *p, struct guard *g, struct err *e)
{
	struct netns_sockets s;
	auto_close int ns = -1;
	pid_t pid;
	int rc;

	if (cgroup_pids(g->cgroup_fd, &pid, 1) < 1)
		return err_set(e, -ESRCH, "nobody is in it");
	rc = netns_of(pid, &ns, e);
	if (rc == 0 && g->dns[NETNS_UDP4] < 0) {
		rc = netns_sockets(ns, p->listen_cgroup, 0, true, &s, e);
		if (rc == 0)
			guards_take_sockets(g, &s);
	}
	return rc < 0 ? rc : guards_netns_use(p, ns, g->netns, e);
}

/* The daemon died in the middle of an attach, which so never succeeded: everything back, as far as it is known. */
static int guards_cut_short(struct guard *g, struct err *e)
{
	auto_close int origin = open(g->origin, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t pids[1024];
	size_t n = cgroup_pids(g->cgroup_fd, pids, ARRAY_SIZE(pids)), i;

	if (origin >= 0)
		(void)!tree_freeze(origin, false, NULL, NULL);
	(void)!tree_freeze(g->cgroup_fd, false, NULL, NULL);
	for (i = 0; i < n; i++) {
		if (origin >= 0)
			(void)!cgroup_move(origin, pids[i], NULL);
		(void)kill(pids[i], SIGCONT);
	}
	return err_set(e, -ECANCELED, "the daemon ended while it was being attached");
}

static int guards_restore_one(struct parent *p, struct guard *g, uint64_t id,
			      struct guards_held *held, size_t count, struct err *e)
{
	uint64_t found;
	int rc = guards_read(p, id, g);

	if (rc < 0)
		return err_set(e, rc, "its record in %s/guards is missing", p->cfg.run_dir);
	rc = cgroup_open_path(g->path, &g->cgroup_fd, &found, e);
	if (rc < 0)
		return rc;
	if (found != id)
		return err_set(e, -ESTALE, "its cgroup was made anew by somebody else");
	if (!g->settled)
		return guards_cut_short(g, e);
	guards_dns_restore(g, held, count);
	guards_netns_restore(p, g->netns, held, count);
	if (g->dns[NETNS_UDP4] < 0 || !guards_netns(p, g->netns))
		rc = guards_remake(p, g, e);
	if (rc == 0 && guards_watch(p, g) < 0)
		rc = err_set(e, -EIO, "cannot watch its cgroup");
	if (rc == 0 && guards_write(p, g) < 0)
		rc = err_set(e, -EIO, "cannot write its record");
	return rc < 0 ? rc : guards_open_state(p, g, e);
}

/* Programs for adopted sockets, when a daemon before this one had any. */
static void guards_adopt_restore(struct parent *p)
{
	char path[CONFIG_PATH_MAX + 64];
	struct err e = {0};

	(void)snprintf(path, sizeof(path), "%s/adopt", enforce_dir(p->en));
	if (access(path, F_OK) == 0 && guards_adopt(p, &e) < 0)
		log_error("%s; adopted sockets are held by the programs of before", e.text);
}

static bool guards_known(const uint64_t *ids, size_t count, uint64_t id)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* Records of guards that are no more, whose cgroup went while no daemon ran. */
static void guards_forget_records(struct parent *p, const uint64_t *ids, size_t count)
{
	int fd = fcntl(p->guards_dir, F_DUPFD_CLOEXEC, 3);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d) {
		own_close(&fd);
		return;
	}
	rewinddir(d);
	while ((de = readdir(d))) {
		char *end;
		uint64_t id = strtoull(de->d_name, &end, 10);

		if (de->d_name[0] >= '1' && de->d_name[0] <= '9' && !*end &&
		    !guards_known(ids, count, id))
			(void)unlinkat(p->guards_dir, de->d_name, 0);
	}
	(void)closedir(d);
}

/* What is left of them with the holder; ids are those that stand in the kernel. */
static void guards_forget(struct parent *p, const uint64_t *ids, size_t count,
			  const struct guards_held *held, size_t held_count)
{
	size_t i;

	for (i = 0; i < held_count; i++) {
		unsigned long long id;
		char kind[8], key[64];

		if (sscanf(held[i].key, "%7[a-z]/%llu/", kind, &id) != 2 || !id)
			continue;
		if (strcmp(kind, "tcp") == 0
			    ? guards_netns(p, id) != NULL
			    : (strcmp(kind, "link") != 0 && strcmp(kind, "dns") != 0) ||
				      guards_known(ids, count, id))
			continue;
		(void)snprintf(key, sizeof(key), "%s/%llu", kind, id);
		proc_unhold(p, key);
	}
	guards_forget_records(p, ids, count);
}

void guards_restore(struct parent *p, struct guards_held *held, size_t count)
{
	uint64_t ids[EG_GUARDS_MAX];
	size_t n = enforce_guards(p->en, ids, EG_GUARDS_MAX), i;

	guards_adopt_restore(p);
	for (i = 0; i < n; i++) {
		struct eg_guard closed = {.id = ids[i]};
		struct guard *g = guards_slot(p);
		bool populated = true;
		struct err e = {0};
		int rc = g ? guards_restore_one(p, g, ids[i], held, count, &e) : -ENOSPC;

		if (rc == 0) {
			if (cgroup_populated(g->cgroup_fd, &populated) == 0 && !populated &&
			    !g->in_place)
				guards_end(p, g);
			continue;
		}
		if (rc == -ECANCELED) {
			log_warn("guard %s: %s; it was put back as it was", g->name, e.text);
			guards_drop(p, g);
			continue;
		}
		log_error("guard %llu: %s; everything in it is denied", (unsigned long long)ids[i],
			  e.text);
		if (enforce_set(p->en, &closed, &e) < 0)
			log_error("guard %llu could not be closed: %s", (unsigned long long)ids[i],
				  e.text);
		if (g && g->id && cgroup_populated(g->cgroup_fd, &populated) == 0 && !populated)
			guards_end(p, g);
		else if (g)
			guards_close(g);
	}
	guards_forget(p, ids, n, held, count);
	guards_hold(p);
}
