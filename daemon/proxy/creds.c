/* creds.c: see creds.h. The area is cut into units of CREDS_UNIT bytes; a value takes the first run of free units
 * that is long enough, unless the same bytes lie there already: a thousand requests of one workspace hold the same few
 * values. The search goes no further than what is held.
 */
#include "creds.h"

#include "secret.h"

#include <assert.h>
#include <string.h>

#define CREDS_UNITS (CREDS_AREA / CREDS_UNIT)

struct creds {
	struct secret *area;
	struct {
		uint32_t holders; /* of the value that begins in this unit; 0: none does */
		uint32_t len;
	} at[CREDS_UNITS];
	size_t values;
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
	size_t need = creds_units(len), run = 0, first = 0, seen = 0, i = 0;
	uint8_t *area = secret_bytes(c->area);

	if (len == 0 || len > RPC_SECRET_MAX)
		return -EINVAL;
	while (i < CREDS_UNITS && (seen < c->values || run < need)) {
		if (c->at[i].holders == 0) {
			first = run == 0 ? i : first;
			run++;
			i++;
			continue;
		}
		if (c->at[i].len == len && memcmp(area + i * CREDS_UNIT, p, len) == 0) {
			c->at[i].holders++;
			*ret = (struct cred){area + i * CREDS_UNIT, len};
			return 0;
		}
		seen++;
		run = run < need ? 0 : run;
		i += creds_units(c->at[i].len);
	}
	if (run < need)
		return -ENOBUFS;
	memcpy(area + first * CREDS_UNIT, p, len);
	c->at[first].holders = 1;
	c->at[first].len = (uint32_t)len;
	c->values++;
	*ret = (struct cred){area + first * CREDS_UNIT, len};
	return 0;
}

static size_t creds_first(struct creds *c, const struct cred *v)
{
	size_t first = (size_t)(v->p - secret_view(c->area)) / CREDS_UNIT;

	assert(first < CREDS_UNITS && c->at[first].holders > 0 && c->at[first].len == v->len);
	return first;
}

/* What is held gets another holder. */
static void creds_share(struct creds *c, const struct cred *v, struct cred *ret)
{
	c->at[creds_first(c, v)].holders++;
	*ret = *v;
}

void creds_drop(struct creds *c, struct cred *v)
{
	size_t first;

	if (!v->p)
		return;
	first = creds_first(c, v);
	if (--c->at[first].holders == 0) {
		explicit_bzero(secret_bytes(c->area) + first * CREDS_UNIT, v->len);
		c->at[first].len = 0;
		c->values--;
	}
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
	creds_share(c, v, &c->leases[i].value);
	c->leases[i].of = *of;
	c->leases[i].until = now_ms + c->lease_ms;
	c->lease_count++;
}

bool creds_find(struct creds *c, const struct rpc_credential *of, uint64_t now_ms, struct cred *ret)
{
	size_t i;

	for (i = 0; i < CREDS_LEASES && c->lease_count > 0; i++)
		if (c->leases[i].until > now_ms && creds_same(&c->leases[i].of, of)) {
			creds_share(c, &c->leases[i].value, ret);
			return true;
		}
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
