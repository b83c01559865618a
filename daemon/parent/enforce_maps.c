/* enforce_maps.c: what goes through the maps while guards stand: events, leases, exceptions, counters. See enforce.h. */
#include "enforce_in.h"

#include "egress.skel.h"

#include <bpf/bpf.h>
#include <string.h>

/* ---- events ------------------------------------------------------------------------------------- */

static int on_event(void *ctx, void *data, size_t size)
{
	struct enforce *en = ctx;
	struct eg_event ev;

	if (size != sizeof(ev) || !en->fn)
		return 0;
	memcpy(&ev, data, sizeof(ev));
	en->fn(en->ctx, &ev);
	return 0;
}

int enforce_events_open(struct enforce *en)
{
	en->ring = ring_buffer__new(bpf_map__fd(en->skel->maps.events), on_event, en, NULL);
	return en->ring ? 0 : -errno;
}

int enforce_events_fd(struct enforce *en)
{
	return ring_buffer__epoll_fd(en->ring);
}

int enforce_events(struct enforce *en, enforce_event_fn *fn, void *ctx)
{
	int n;

	en->fn = fn;
	en->ctx = ctx;
	n = ring_buffer__consume(en->ring);
	en->fn = NULL;
	en->ctx = NULL;
	return n < 0 ? n : 0;
}

/* ---- what one guard has ------------------------------------------------------------------------- */

/* What is not there any more need not be deleted. */
static int drop_key(int map, const void *key)
{
	return bpf_map_delete_elem(map, key) == 0 || errno == ENOENT ? 0 : -errno;
}

/* Deletes what a map holds of a guard, whose id is the value's (pending) or the first thing in the key
 * (leases). */
int enforce_purge(struct bpf_map *map, uint64_t id, bool in_value, uint64_t limit)
{
	int rc = 0;
	char key[sizeof(struct eg_unix_path)], next[sizeof(struct eg_unix_path)];
	struct eg_record record;
	uint64_t guard;
	int fd = bpf_map__fd(map);
	bool more = bpf_map_get_next_key(fd, NULL, next) == 0;

	for (uint64_t i = 0; more && i < limit; i++) {
		memcpy(key, next, sizeof(key));
		more = bpf_map_get_next_key(fd, key, next) == 0;
		memcpy(&guard, key, sizeof(guard));
		if (in_value)
			guard = bpf_map_lookup_elem(fd, key, &record) == 0 ? record.guard : 0;
		if (guard == id && drop_key(fd, key) < 0)
			rc = -errno;
	}
	return rc;
}

/* Takes a guard's traces out of the shared maps; its programs are attached no more. */
void enforce_purge_guard(struct enforce *en, uint64_t id)
{
	(void)enforce_purge(en->skel->maps.leases, id, false, EG_LEASES_MAX);
	(void)enforce_purge(en->skel->maps.pending, id, true, EG_GUARDS_MAX * EG_PENDING_PER_GUARD);
	(void)enforce_purge(en->skel->maps.exempt, id, false, EG_UNIX_MAX);
	(void)enforce_purge(en->skel->maps.exempt_paths, id, false, EG_UNIX_MAX);
	(void)bpf_map_delete_elem(bpf_map__fd(en->skel->maps.quota), &id);
}

int enforce_lease(struct enforce *en, const struct eg_lease_key *key, const struct eg_lease *lease)
{
	if (!enforce_find(en, key->guard))
		return -ENOENT;
	if (bpf_map_update_elem(bpf_map__fd(en->skel->maps.leases), key, lease, BPF_ANY) != 0)
		return -errno;
	return 0;
}

bool enforce_leased(struct enforce *en, const struct eg_lease_key *key, uint64_t now_ns)
{
	struct eg_lease lease;

	return bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.leases), key, &lease) == 0 && lease.expires > now_ns;
}

/* Is the key among those that stay; both kinds begin with the guard. */
static bool is_listed(const void *key, size_t size, const struct enforce_exempt *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(key, size == sizeof(list->key) ? (const void *)&list[i].key : &list[i].path, size) == 0)
			return true;
	return false;
}

static int drop_exempt(struct bpf_map *map, uint64_t guard, const struct enforce_exempt *list, size_t count)
{
	char key[sizeof(struct eg_unix_path)], next[sizeof(struct eg_unix_path)];
	int fd = bpf_map__fd(map), rc = 0;
	bool more = bpf_map_get_next_key(fd, NULL, next) == 0;

	for (size_t i = 0; more && i < EG_UNIX_MAX; i++) {
		memcpy(key, next, sizeof(key));
		more = bpf_map_get_next_key(fd, key, next) == 0;
		if (memcmp(key, &guard, sizeof(guard)) == 0 && !is_listed(key, bpf_map__key_size(map), list, count) &&
		    drop_key(fd, key) < 0)
			rc = -errno;
	}
	return rc;
}

int enforce_exempt(struct enforce *en, uint64_t guard, struct enforce_exempt *list, size_t count)
{
	int keys = bpf_map__fd(en->skel->maps.exempt), paths = bpf_map__fd(en->skel->maps.exempt_paths), rc, gone;
	const uint64_t one = 1;

	for (size_t i = 0; i < count; i++)
		list[i].key.guard = list[i].path.guard = guard;
	rc = drop_exempt(en->skel->maps.exempt, guard, list, count);
	gone = drop_exempt(en->skel->maps.exempt_paths, guard, list, count);
	if (gone < 0)
		rc = gone;
	for (size_t i = 0; i < count; i++) {
		if (list[i].key.kind && bpf_map_update_elem(keys, &list[i].key, &one, BPF_ANY) != 0)
			rc = -errno;
		if (list[i].path.family && bpf_map_update_elem(paths, &list[i].path, &list[i].mounts, BPF_ANY) != 0)
			rc = -errno;
	}
	return rc;
}

bool enforce_direct(struct enforce *en, int sock)
{
	struct eg_direct mark;

	return bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.directs), &sock, &mark) == 0;
}

int enforce_unlease(struct enforce *en, uint64_t guard)
{
	return enforce_purge(en->skel->maps.leases, guard, false, EG_LEASES_MAX);
}

void enforce_sweep(struct enforce *en, uint64_t now_ns)
{
	int fd = bpf_map__fd(en->skel->maps.leases);
	struct eg_lease_key key, next;
	struct eg_lease lease;
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	for (size_t i = 0; more && i < EG_LEASES_MAX; i++) {
		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		if (bpf_map_lookup_elem(fd, &key, &lease) == 0 && lease.expires <= now_ns)
			(void)bpf_map_delete_elem(fd, &key);
	}
}

/* ---- counters ----------------------------------------------------------------------------------- */

int enforce_told(struct enforce *en, uint64_t lost)
{
	int cpus = libbpf_num_possible_cpus();
	auto_free uint64_t *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	uint32_t index = EG_STAT_EVENTS_TOLD;

	if (!each)
		return cpus < 0 ? cpus : -ENOMEM;
	each[0] = lost;
	return bpf_map_update_elem(bpf_map__fd(en->skel->maps.stats), &index, each, BPF_ANY) ? -errno : 0;
}

int enforce_stats(struct enforce *en, uint64_t stats[EG_STAT_COUNT])
{
	int cpus = libbpf_num_possible_cpus();
	auto_free uint64_t *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	uint64_t sums[EG_STAT_COUNT] = {};

	if (!each)
		return cpus < 0 ? cpus : -ENOMEM;
	for (uint32_t i = 0; i < EG_STAT_COUNT; i++) {
		if (bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.stats), &i, each) != 0)
			return -errno;
		for (int cpu = 0; cpu < cpus; cpu++)
			sums[i] += each[cpu];
	}
	memcpy(stats, sums, sizeof(sums));
	return 0;
}
