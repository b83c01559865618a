/* former.c: see former.h. A table that is looked through: it changes with administration, and is asked for requests only
 * where there are some.
 */
#include "former.h"

#include <string.h>

static void former_free(struct former *o)
{
	(void)secret_free(o->value);
	free(o->hosts);
	*o = (struct former){0};
}

void formers_done(struct formers *f)
{
	size_t i;

	for (i = 0; i < FORMER_MAX; i++)
		former_free(&f->of[i]);
}

void formers_drop(struct formers *f, const char *workspace)
{
	size_t i;

	for (i = 0; i < FORMER_MAX; i++)
		if (f->of[i].number && strcmp(f->of[i].workspace, workspace) == 0)
			former_free(&f->of[i]);
}

/* A free place: the workspace's oldest is given up for it when it has its share, else the oldest of all. */
static struct former *former_room(struct formers *f, const char *workspace)
{
	struct former *free_one = NULL, *oldest = NULL, *own = NULL;
	uint32_t count = 0;
	size_t i;

	for (i = 0; i < FORMER_MAX; i++) {
		struct former *o = &f->of[i];

		if (!o->number) {
			free_one = o;
			continue;
		}
		if (!oldest || o->number < oldest->number)
			oldest = o;
		if (strcmp(o->workspace, workspace) != 0)
			continue;
		count++;
		if (!own || o->number < own->number)
			own = o;
	}
	if (count < FORMER_PER_WORKSPACE)
		own = free_one ? free_one : oldest;
	former_free(own);
	return own;
}

static bool former_like(const struct former *o, const char *workspace, char (*hosts)[RPC_HOST_MAX],
			uint32_t host_count, const struct secret *value)
{
	return o->number && strcmp(o->workspace, workspace) == 0 && o->host_count == host_count &&
	       memcmp(o->hosts, hosts, host_count * sizeof(*hosts)) == 0 &&
	       secret_same(o->value, secret_view(value), secret_len(value));
}

int former_add(struct formers *f, const char *workspace, char (*hosts)[RPC_HOST_MAX],
	       uint32_t host_count, struct secret **value, const struct former **ret)
{
	auto_free char(*copy)[RPC_HOST_MAX] = calloc(host_count ? host_count : 1, sizeof(*copy));
	struct former *o;
	size_t i;

	*ret = NULL;
	if (!copy)
		return -ENOMEM;
	memcpy(copy, hosts, host_count * sizeof(*copy));
	for (i = 0; i < FORMER_MAX; i++)
		if (former_like(&f->of[i], workspace, copy, host_count, *value))
			return 0;
	o = former_room(f, workspace);
	*o = (struct former){.number = ++f->last,
			     .value = take(*value),
			     .host_count = host_count,
			     .hosts = take(copy)};
	memcpy(o->workspace, workspace, strlen(workspace) + 1);
	*ret = o;
	return 0;
}

const struct former *former_find(const struct formers *f, uint64_t number, const char *workspace,
				 const char *host)
{
	uint32_t i, k;

	for (i = 0; i < FORMER_MAX; i++) {
		const struct former *o = &f->of[i];

		if (number == 0 || o->number != number || strcmp(o->workspace, workspace) != 0)
			continue;
		for (k = 0; k < o->host_count; k++)
			if (rules_host_match(o->hosts[k], host))
				return o;
	}
	return NULL;
}

int former_hosts(const struct rules_secret *was, const struct rules_secret *now,
		 char (**ret)[RPC_HOST_MAX], uint32_t *ret_count)
{
	char(*hosts)[RPC_HOST_MAX] = calloc(was->host_count + 1, sizeof(*hosts));
	uint32_t i, k, n = 0;

	if (!hosts)
		return -ENOMEM;
	for (i = 0; i < was->host_count; i++) {
		for (k = 0; now && k < now->host_count; k++)
			if (strcmp(now->hosts[k], was->hosts[i]) == 0)
				break;
		if (!now || k == now->host_count)
			memcpy(hosts[n++], was->hosts[i], sizeof(*hosts));
	}
	*ret = hosts;
	*ret_count = n;
	return 0;
}
