/* leaf.c: see leaf.h. A hash table of fixed size; entries are also in a list by last use, newest first.
 * An entry without a certificate is pending: its question is with the keeper, and it is not thrown out.
 */
#include "leaf.h"

#include <assert.h>
#include <string.h>

#define LEAF_BUCKETS 1024

struct leaf {
	struct leaf *chain;
	struct leaf *newer, *older;
	struct leaf_cache *cache;
	struct tls_cert *cert;
	uint64_t guard; /* who asked first */
	uint64_t until;
	struct ask ask;
	struct leaf_wait *waiting;
	char host[RPC_HOST_MAX];
};

struct leaf_cache {
	const struct tls_ctx *tls;
	struct channel *keeper;
	uint32_t max, count;
	uint64_t now_ms;
	struct leaf *bucket[LEAF_BUCKETS];
	struct leaf *newest, *oldest;
};

int leaf_cache_new(const struct tls_ctx *tls, struct channel *keeper, uint32_t max,
		   struct leaf_cache **ret)
{
	struct leaf_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->tls = tls;
	c->keeper = keeper;
	c->max = max;
	*ret = c;
	return 0;
}

static struct leaf **leaf_bucket(struct leaf_cache *c, const char *host)
{
	uint32_t h = 2166136261u;

	for (; *host; host++)
		h = (h ^ (uint8_t)*host) * 16777619u;
	return &c->bucket[h % LEAF_BUCKETS];
}

static void leaf_unlist(struct leaf *l)
{
	struct leaf_cache *c = l->cache;

	*(l->newer ? &l->newer->older : &c->newest) = l->older;
	*(l->older ? &l->older->newer : &c->oldest) = l->newer;
	l->newer = l->older = NULL;
}

static void leaf_list(struct leaf *l)
{
	struct leaf_cache *c = l->cache;

	l->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = l;
	c->newest = l;
}

/* Takes it out of the cache and frees it; nobody waits for it. */
static void leaf_drop(struct leaf *l)
{
	struct leaf **at = leaf_bucket(l->cache, l->host);

	assert(!l->waiting);
	while (*at != l)
		at = &(*at)->chain;
	*at = l->chain;
	leaf_unlist(l);
	l->cache->count--;
	ask_cancel(&l->ask);
	tls_cert_free(l->cert);
	free(l);
}

struct leaf_cache *leaf_cache_free(struct leaf_cache *c)
{
	if (!c)
		return NULL;
	while (c->newest) {
		while (c->newest->waiting)
			leaf_cancel(c->newest->waiting);
		leaf_drop(c->newest);
	}
	free(c);
	return NULL;
}

void leaf_cancel(struct leaf_wait *w)
{
	struct leaf_wait **at;

	if (!w->on)
		return;
	for (at = &w->on->waiting; *at != w; at = &(*at)->next)
		;
	*at = w->next;
	w->on = NULL;
	w->next = NULL;
}

static void leaf_on_answer(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len)
{
	struct leaf *l = (struct leaf *)((char *)a - offsetof(struct leaf, ask));
	struct leaf_wait *w;

	(void)body;
	if (rc == 0)
		rc = tls_cert_new(l->cache->tls, tail, tail_len, &l->cert);
	while ((w = l->waiting)) {
		l->waiting = w->next;
		w->next = NULL;
		w->on = NULL;
		w->fn(w, l->cert, rc);
	}
	if (!l->cert)
		leaf_drop(l);
}

static bool leaf_crowded(const struct leaf_cache *c, uint64_t guard)
{
	const struct leaf *l;
	uint32_t pending = 0;

	/* What is pending is new. */
	for (l = c->newest; l && pending < LEAF_PENDING_MAX; l = l->older)
		pending += !l->cert && l->guard == guard;
	return pending == LEAF_PENDING_MAX;
}

static int leaf_make(struct leaf_cache *c, const char *host, uint64_t guard, struct leaf **ret)
{
	struct leaf *l = c->oldest, **at = leaf_bucket(c, host);
	int rc;

	if (leaf_crowded(c, guard))
		return -EBUSY;
	while (l && c->count >= c->max && !l->cert)
		l = l->newer;
	if (c->count >= c->max) {
		if (!l)
			return -EBUSY;
		leaf_drop(l);
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->cache = c;
	l->guard = guard;
	l->until = c->now_ms + LEAF_KEEP_MS;
	memcpy(l->host, host, strlen(host) + 1);
	l->ask.body.leaf.guard = guard;
	memcpy(l->ask.body.leaf.host, l->host, sizeof(l->host));
	rc = ask_put(&l->ask, c->keeper, RPC_SIGN_LEAF, leaf_on_answer);
	if (rc < 0) {
		free(l);
		return rc;
	}
	l->chain = *at;
	*at = l;
	c->count++;
	leaf_list(l);
	*ret = l;
	return 0;
}

int leaf_get(struct leaf_cache *c, const char *host, uint64_t guard, uint64_t now_ms, struct leaf_wait *w,
	     const struct tls_cert **ret)
{
	struct leaf *l = *leaf_bucket(c, host);
	int rc;

	assert(!w->on && strlen(host) < RPC_HOST_MAX);
	c->now_ms = now_ms;
	while (l && strcmp(l->host, host) != 0)
		l = l->chain;
	if (l && l->cert && now_ms >= l->until) {
		leaf_drop(l);
		l = NULL;
	}
	if (l && l->cert) {
		leaf_unlist(l);
		leaf_list(l);
		*ret = l->cert;
		return 0;
	}
	if (!l) {
		rc = leaf_make(c, host, guard, &l);
		if (rc < 0)
			return rc;
	}
	w->on = l;
	w->next = l->waiting;
	l->waiting = w;
	return -EINPROGRESS;
}
