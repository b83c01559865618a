/* hosts.c: see hosts.h. Pairs sorted by name, IPv4 before IPv6, then in the file's order. */
#include "hosts.h"

#include "origin.h"
#include "rules.h"

#include <stdlib.h>
#include <string.h>

struct hosts_pair {
	char host[RPC_HOST_MAX];
	uint8_t addr[16];
	size_t order;
};

struct hosts {
	size_t count, room;
	struct hosts_pair *pair;
};

struct hosts *hosts_free(struct hosts *h)
{
	if (h)
		free(h->pair);
	free(h);
	return NULL;
}

/* The next word of [*p, end), cut off at a '#'; empty at the end of the line. */
static size_t hosts_word(const char **p, const char *end, const char **ret)
{
	const char *s = *p, *e;

	while (s < end && (*s == ' ' || *s == '\t' || *s == '\r'))
		s++;
	for (e = s; e < end && *e != ' ' && *e != '\t' && *e != '\r' && *e != '#';)
		e++;
	*p = e < end && *e == '#' ? end : e;
	*ret = s;
	return (size_t)(e - s);
}

static int hosts_add(struct hosts *h, const char *host, const uint8_t addr[16])
{
	struct hosts_pair *more;

	if (h->count == h->room) {
		size_t room = h->room ? h->room * 2 : 64;

		more = reallocarray(h->pair, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		h->pair = more;
		h->room = room;
	}
	h->pair[h->count] = (struct hosts_pair){.order = h->count};
	memcpy(h->pair[h->count].host, host, strlen(host) + 1);
	memcpy(h->pair[h->count].addr, addr, 16);
	h->count++;
	return 0;
}

static int hosts_line(struct hosts *h, const char *p, const char *end)
{
	char text[RPC_HOST_MAX + 1], host[RPC_HOST_MAX];
	const char *word;
	uint8_t addr[16];
	size_t n = hosts_word(&p, end, &word);
	int rc = 0;

	if (n == 0 || n >= sizeof(text))
		return 0;
	memcpy(text, word, n);
	text[n] = '\0';
	/* A NUL within the word would hide what comes after it. */
	if (strlen(text) != n || !origin_parse(text, addr))
		return 0;
	while (rc == 0 && h->count < HOSTS_MAX && (n = hosts_word(&p, end, &word)) > 0) {
		if (n >= sizeof(text))
			continue;
		memcpy(text, word, n);
		text[n] = '\0';
		if (strlen(text) == n && rules_host(text, false, false, host, NULL) == 0)
			rc = hosts_add(h, host, addr);
	}
	return rc;
}

static int hosts_compare(const void *pa, const void *pb)
{
	const struct hosts_pair *a = pa, *b = pb;
	int rc = strcmp(a->host, b->host);

	if (rc == 0)
		rc = (int)origin_is_v4(b->addr) - (int)origin_is_v4(a->addr);
	return rc ? rc : (a->order > b->order) - (a->order < b->order);
}

int hosts_parse(const char *text, size_t len, struct hosts **ret)
{
	auto_(hosts) struct hosts *h = calloc(1, sizeof(*h));
	const char *p = text, *end = text + len;
	int rc = h ? 0 : -ENOMEM;

	while (rc == 0 && p < end && h->count < HOSTS_MAX) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		rc = hosts_line(h, p, nl ? nl : end);
		p = nl ? nl + 1 : end;
	}
	if (rc < 0)
		return rc;
	if (h->count)
		qsort(h->pair, h->count, sizeof(*h->pair), hosts_compare);
	*ret = take(h);
	return 0;
}

size_t hosts_find(const struct hosts *h, const char *host, uint8_t (*addr)[16], size_t max)
{
	size_t lo = 0, hi = h ? h->count : 0, n = 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(h->pair[mid].host, host) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; h && lo < h->count && n < max && strcmp(h->pair[lo].host, host) == 0; lo++)
		memcpy(addr[n++], h->pair[lo].addr, 16);
	return n;
}
