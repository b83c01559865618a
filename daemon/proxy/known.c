/* known.c: see known.h. A list: it is as long as there are hosts being talked to with secrets. */
#include "known.h"

#include "secret.h"

#include <string.h>

struct known *known_find(struct known *list, uint64_t epoch, const char *host, uint16_t port)
{
	for (; list; list = list->next) {
		if (list->epoch != epoch || list->port != port || strcmp(list->host, host) != 0)
			continue;
		list->uses++;
		return list;
	}
	return NULL;
}

int known_new(struct known **list, uint64_t epoch, const char *host, uint16_t port,
	      const struct cred *values, size_t count, struct known **ret)
{
	auto_free struct known *k = calloc(1, sizeof(*k));
	struct redact_value v[REDACT_VALUES_MAX];
	size_t i, size;
	int rc;

	if (!k)
		return -ENOMEM;
	if (count > REDACT_VALUES_MAX)
		return -E2BIG;
	for (i = 0; i < count; i++)
		v[i] = (struct redact_value){values[i].p, values[i].len};
	size = redact_size(v, count);
	if (size == 0 || size > SECRET_SIZE_MAX - 15)
		return -E2BIG;
	size = (size + 15) & ~(size_t)15; /* the area ends at a page's end: it begins aligned */
	rc = secret_new(size, &k->mem, NULL);
	if (rc < 0)
		return rc;
	k->redact = redact_make(secret_bytes(k->mem), v, count);
	k->epoch = epoch;
	k->port = port;
	k->uses = 1;
	memcpy(k->host, host, strlen(host) + 1);
	k->next = *list;
	*list = k;
	*ret = take(k);
	return 0;
}

void known_drop(struct known **list, struct known *k)
{
	if (!k || --k->uses > 0)
		return;
	while (*list != k)
		list = &(*list)->next;
	*list = k->next;
	(void)secret_free(k->mem);
	free(k);
}
