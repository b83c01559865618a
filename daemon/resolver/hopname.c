/* hopname.c: see hopname.h. One question at a time, for all who wait; what was found is kept for its clamped TTL. */
#include "hopname.h"

#include "names.h"

#include <string.h>

static void hopname_answer(struct resolver *r, const struct from *f)
{
	struct rpc_resolved a = r->hop.found;

	if (r->hop.until_ms > r->loop.now_ms)
		a.ttl = (uint32_t)((r->hop.until_ms - r->loop.now_ms + 999) / 1000);
	resolver_reply(r, f, &a);
}

static void hopname_found(void *ctx, void *arg, const struct lookup_answer *found)
{
	struct resolver *r = ctx;
	struct rpc_resolved *a = &r->hop.found;
	uint32_t ttl = lease_ttl(found->ttl, r->cfg.dns_ttl_min, r->cfg.dns_ttl_max), i;
	struct from *f;

	(void)arg;
	*a = (struct rpc_resolved){.rc = found->rc < 0  ? found->rc
					 : found->count ? -EACCES
							: -ENOENT};
	for (i = 0; found->rc == 0 && i < found->count && a->count < RPC_ADDRS_MAX; i++)
		if (names_may_use(r, found->addr[i], true, false))
			memcpy(a->addr[a->count++], found->addr[i], 16);
	if (a->count)
		a->rc = 0;
	r->hop.until_ms = a->rc == 0 ? r->loop.now_ms + (uint64_t)ttl * 1000 : 0;
	r->hop.asking = false;
	while ((f = TAILQ_FIRST(&r->hop.waiting))) {
		struct proxy *p = &r->proxy[f->slot];

		TAILQ_REMOVE(&r->hop.waiting, f, next);
		hopname_answer(r, f);
		if (p->gen == f->gen)
			p->waiting--;
		free(f);
	}
}

static void hopname_start(struct resolver *r)
{
	struct lookup_answer found = {.ttl = r->cfg.dns_ttl_max};

	r->hop.asking = true;
	found.count = (uint32_t)hosts_find(r->hosts, r->cfg.http_proxy_host, found.addr,
					   LEASE_ADDRS_MAX);
	if (!found.count && lookup_ask(r->lookup, r->cfg.http_proxy_host, hopname_found, NULL) == 0)
		return;
	if (!found.count)
		found.rc = -ETIMEDOUT;
	hopname_found(r, NULL, &found);
}

void hopname_ask(struct resolver *r, const struct from *f)
{
	struct from *copy;

	if (!r->cfg.http_proxy_host[0]) {
		resolver_reply_rc(r, f, -EPERM);
		return;
	}
	if (r->hop.until_ms > r->loop.now_ms) {
		hopname_answer(r, f);
		return;
	}
	copy = malloc(sizeof(*copy));
	if (!copy) {
		resolver_reply_rc(r, f, -ETIMEDOUT);
		return;
	}
	*copy = *f;
	TAILQ_INSERT_TAIL(&r->hop.waiting, copy, next);
	r->proxy[f->slot].waiting++;
	if (!r->hop.asking)
		hopname_start(r);
}
