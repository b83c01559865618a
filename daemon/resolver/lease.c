/* lease.c: see lease.h.
 *
 * Each entry is in two lists: its hash bucket, and its guard's, oldest first. A guard's list is
 * made with its first entry and let go with its last. An entry that has ended is removed when it is
 * asked for, or pushed out like any other: nothing sweeps, since the bounds hold anyway.
 */
#include "lease.h"

#include <assert.h>
#include <string.h>
#include <sys/queue.h>

#define LEASE_BUCKETS 4096 /* a power of two */

struct lease_node {
	struct lease lease; /* first: what callers see */
	LIST_ENTRY(lease_node) in_bucket;
	TAILQ_ENTRY(lease_node) in_guard;
	struct lease_owner *owner;
	char host[RPC_HOST_MAX];
	uint8_t addr[][16];
};

LIST_HEAD(lease_bucket, lease_node);
TAILQ_HEAD(lease_age, lease_node);

struct lease_owner {
	uint64_t guard;
	size_t count; /* 0: a free slot */
	struct lease_age age;
};

struct lease_table {
	uint64_t seed;
	size_t count;
	struct lease_owner owner[LEASE_GUARDS_MAX];
	struct lease_bucket bucket[LEASE_BUCKETS];
};

struct lease_table *lease_table_new(uint64_t seed)
{
	struct lease_table *t = calloc(1, sizeof(*t));

	if (t)
		t->seed = seed;
	return t;
}

static void lease_remove(struct lease_table *t, struct lease_node *n)
{
	LIST_REMOVE(n, in_bucket);
	TAILQ_REMOVE(&n->owner->age, n, in_guard);
	n->owner->count--;
	t->count--;
	free(n);
}

static void lease_clear(struct lease_table *t, struct lease_owner *o)
{
	while (o->count)
		lease_remove(t, TAILQ_FIRST(&o->age));
}

struct lease_table *lease_table_free(struct lease_table *t)
{
	size_t i;

	for (i = 0; t && i < LEASE_GUARDS_MAX; i++)
		lease_clear(t, &t->owner[i]);
	free(t);
	return NULL;
}

uint32_t lease_ttl(uint32_t ttl, uint32_t min, uint32_t max)
{
	uint32_t t = ttl < min ? min : ttl;

	t = t > max ? max : t;
	return t ? t : 1;
}

uint32_t lease_left(const struct lease *l, uint64_t now_ms)
{
	uint64_t left = l->expires_ms > now_ms ? (l->expires_ms - now_ms) / 1000 : 0;

	return left == 0 ? 1 : left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
}

/* FNV-1a from a random start. Who guesses it gains long chains of his own LEASE_PER_GUARD_MAX
 * entries, no more. */
static uint32_t lease_hash(const struct lease_table *t, uint64_t guard, const char *host)
{
	uint64_t h = (t->seed ^ guard) * 0x100000001b3ULL;

	for (; *host; host++)
		h = (h ^ (uint8_t)*host) * 0x100000001b3ULL;
	return (uint32_t)(h ^ h >> 32) & (LEASE_BUCKETS - 1);
}

static struct lease_node *lease_find(struct lease_table *t, uint32_t bucket, uint64_t guard,
				     const char *host)
{
	struct lease_node *n;

	LIST_FOREACH(n, &t->bucket[bucket], in_bucket)
		if (n->lease.guard == guard && strcmp(n->host, host) == 0)
			return n;
	return NULL;
}

const struct lease *lease_get(struct lease_table *t, uint64_t guard, const char *host,
			      uint64_t now_ms)
{
	struct lease_node *n = lease_find(t, lease_hash(t, guard, host), guard, host);

	if (!n || n->lease.expires_ms > now_ms)
		return n ? &n->lease : NULL;
	lease_remove(t, n);
	return NULL;
}

/* The guard's list, or a free one; NULL when all are taken by others. */
static struct lease_owner *lease_owner(struct lease_table *t, uint64_t guard)
{
	struct lease_owner *unused = NULL;
	size_t i;

	for (i = 0; i < LEASE_GUARDS_MAX; i++) {
		if (t->owner[i].count && t->owner[i].guard == guard)
			return &t->owner[i];
		if (!t->owner[i].count && !unused)
			unused = &t->owner[i];
	}
	return unused;
}

static void lease_make_room(struct lease_table *t, struct lease_owner *own)
{
	struct lease_owner *most = own;
	size_t i;

	if (own->count >= LEASE_PER_GUARD_MAX)
		lease_remove(t, TAILQ_FIRST(&own->age));
	if (t->count < LEASE_MAX)
		return;
	for (i = 0; i < LEASE_GUARDS_MAX; i++)
		if (t->owner[i].count > most->count)
			most = &t->owner[i];
	lease_remove(t, TAILQ_FIRST(&most->age));
}

static struct lease_node *lease_copy(const struct lease *l)
{
	size_t len = strlen(l->host);
	struct lease_node *n;

	assert(l->count <= LEASE_ADDRS_MAX && len < RPC_HOST_MAX);
	n = calloc(1, sizeof(*n) + l->count * sizeof(n->addr[0]));
	if (!n)
		return NULL;
	n->lease = *l;
	memcpy(n->host, l->host, len);
	if (l->count)
		memcpy(n->addr, l->addr, l->count * sizeof(n->addr[0]));
	n->lease.host = n->host;
	n->lease.addr = (const uint8_t(*)[16])n->addr;
	return n;
}

int lease_put(struct lease_table *t, const struct lease *l, const struct lease **ret)
{
	uint32_t bucket = lease_hash(t, l->guard, l->host);
	struct lease_node *n = lease_copy(l), *old = lease_find(t, bucket, l->guard, l->host);
	struct lease_owner *own;

	if (!n)
		return -ENOMEM;
	if (old)
		lease_remove(t, old);
	own = lease_owner(t, l->guard);
	if (!own) {
		free(n);
		return -ENOSPC;
	}
	lease_make_room(t, own);
	if (!own->count) {
		own->guard = l->guard;
		TAILQ_INIT(&own->age);
	}
	n->owner = own;
	LIST_INSERT_HEAD(&t->bucket[bucket], n, in_bucket);
	TAILQ_INSERT_TAIL(&own->age, n, in_guard);
	own->count++;
	t->count++;
	if (ret)
		*ret = &n->lease;
	return 0;
}

void lease_drop(struct lease_table *t, uint64_t guard)
{
	struct lease_owner *o = lease_owner(t, guard);

	if (o && o->count)
		lease_clear(t, o);
}

size_t lease_count(const struct lease_table *t)
{
	return t->count;
}
