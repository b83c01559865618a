/* creds.c: see creds.h. The area is cut into units of CREDS_UNIT bytes; a value takes the first run of
 * free units that is long enough. Values are short and live for a millisecond: the search is, too.
 */
#include "creds.h"

#include "secret.h"

#include <assert.h>
#include <string.h>

#define CREDS_UNITS (CREDS_AREA / CREDS_UNIT)

struct creds {
	struct secret *area;
	bool taken[CREDS_UNITS];
	uint64_t lease_ms;
	uint32_t lease_count;
	struct {
		uint64_t until; /* 0: free */
		struct rpc_credential of;
		struct cred value;
	} leases[CREDS_LEASES];
};

int creds_new(uint32_t lease_s, struct creds **ret, struct err *e)
{
	struct creds *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->lease_ms = lease_s * 1000ULL;
	rc = secret_new(CREDS_AREA, &c->area, e);
	if (rc < 0) {
		free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

struct creds *creds_free(struct creds *c)
{
	if (c)
		secret_free(c->area);
	free(c);
	return NULL;
}

static size_t creds_units(size_t len)
{
	return (len + CREDS_UNIT - 1) / CREDS_UNIT;
}

int creds_hold(struct creds *c, const uint8_t *p, size_t len, struct cred *ret)
{
	size_t need = creds_units(len), run = 0, i;

	if (len == 0 || len > RPC_SECRET_MAX)
		return -EINVAL;
	for (i = 0; i < CREDS_UNITS; i++) {
		run = c->taken[i] ? 0 : run + 1;
		if (run == need)
			break;
	}
	if (run != need)
		return -ENOBUFS;
	i -= need - 1;
	memset(&c->taken[i], true, need);
	ret->p = secret_bytes(c->area) + i * CREDS_UNIT;
	ret->len = len;
	memcpy(ret->p, p, len);
	return 0;
}

void creds_drop(struct creds *c, struct cred *v)
{
	size_t first;

	if (!v->p)
		return;
	first = (size_t)(v->p - secret_bytes(c->area)) / CREDS_UNIT;
	assert(first + creds_units(v->len) <= CREDS_UNITS);
	explicit_bzero(v->p, v->len);
	memset(&c->taken[first], false, creds_units(v->len));
	*v = (struct cred){0};
}

static bool creds_same(const struct rpc_credential *a, const struct rpc_credential *b)
{
	return a->guard == b->guard && a->port == b->port && a->slot == b->slot &&
	       strcmp(a->name, b->name) == 0 && strcmp(a->host, b->host) == 0;
}

static void creds_end(struct creds *c, size_t i)
{
	creds_drop(c, &c->leases[i].value);
	c->leases[i].until = 0;
	c->lease_count--;
}

void creds_lease(struct creds *c, const struct rpc_credential *of, const struct cred *v, uint64_t now_ms)
{
	size_t i = 0;

	if (c->lease_ms == 0 || c->lease_count == CREDS_LEASES)
		return;
	while (c->leases[i].until)
		i++;
	if (creds_hold(c, v->p, v->len, &c->leases[i].value) < 0)
		return;
	c->leases[i].of = *of;
	c->leases[i].until = now_ms + c->lease_ms;
	c->lease_count++;
}

bool creds_find(struct creds *c, const struct rpc_credential *of, uint64_t now_ms, struct cred *ret)
{
	size_t i;

	for (i = 0; i < CREDS_LEASES && c->lease_count > 0; i++)
		if (c->leases[i].until > now_ms && creds_same(&c->leases[i].of, of))
			return creds_hold(c, c->leases[i].value.p, c->leases[i].value.len, ret) == 0;
	return false;
}

void creds_forget(struct creds *c, uint64_t guard, const char *name)
{
	size_t i;

	for (i = 0; c && i < CREDS_LEASES && c->lease_count > 0; i++)
		if (c->leases[i].until && (guard == 0 || c->leases[i].of.guard == guard) &&
		    (!name || strcmp(c->leases[i].of.name, name) == 0))
			creds_end(c, i);
}

void creds_sweep(struct creds *c, uint64_t now_ms)
{
	size_t i;

	for (i = 0; i < CREDS_LEASES && c->lease_count > 0; i++)
		if (c->leases[i].until && c->leases[i].until <= now_ms)
			creds_end(c, i);
}
