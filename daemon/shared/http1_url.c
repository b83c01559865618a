/* http1_url.c: authorities and URLs; see http1.h. */
#include "hello.h"
#include "http1_in.h"
#include "origin.h"

/* The text between brackets, or a dotted quad, as an address in canonical text. */
static int address_of(struct http1_slice s, bool v6, char host[RPC_HOST_MAX])
{
	char text[ORIGIN_TEXT_MAX] = "", canon[ORIGIN_TEXT_MAX];
	uint8_t addr[16];

	if (s.len == 0 || s.len >= sizeof(text) || v6 != !!memchr(s.p, ':', s.len))
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		text[i] = lower(s.p[i]);
		if (!is_digit(text[i]) && text[i] != '.' && text[i] != ':' && (text[i] < 'a' || text[i] > 'f'))
			return -EINVAL;
	}
	if (!origin_parse(text, addr))
		return -EINVAL;
	origin_text(addr, canon);
	memset(host, 0, RPC_HOST_MAX);
	memcpy(host, canon, strnlen(canon, sizeof(canon) - 1));
	return 0;
}

static int name_of(struct http1_slice s, char host[RPC_HOST_MAX])
{
	if (s.len == 0 || s.len >= RPC_HOST_MAX)
		return -EINVAL;
	memset(host, 0, RPC_HOST_MAX);
	for (size_t i = 0; i < s.len; i++)
		host[i] = lower(s.p[i]);
	return hello_host_ok(host, s.len) ? 0 : -EINVAL;
}

/* 1 to 65535 without leading zeros. */
static int port_of(struct http1_slice s, uint16_t *port)
{
	uint32_t n = 0;

	if (s.len < 1 || s.len > 5 || s.p[0] == '0')
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_digit(s.p[i]))
			return -EINVAL;
		n = n * 10 + (uint32_t)(s.p[i] - '0');
	}
	if (n > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)n;
	return 0;
}

/* Splits off the host; *rest is "" or ":port". */
static int split_host(struct http1_slice s, struct http1_slice *host, bool *v6, struct http1_slice *rest)
{
	const char *end;

	*v6 = s.len > 0 && s.p[0] == '[';
	if (*v6) {
		end = memchr(s.p, ']', s.len);
		if (!end)
			return -EINVAL;
		*host = slice(s.p + 1, (size_t)(end - s.p - 1));
		end++;
	} else {
		end = memchr(s.p, ':', s.len);
		if (!end)
			end = s.p + s.len;
		*host = slice(s.p, (size_t)(end - s.p));
	}
	*rest = slice(end, (size_t)(s.p + s.len - end));
	return 0;
}

int http1_authority(struct http1_slice s, char host[RPC_HOST_MAX], bool *address, uint16_t *port)
{
	struct http1_slice name, rest;
	uint16_t number = 0;
	bool v6, is_address;

	host[0] = '\0';
	if (s.len == 0 || split_host(s, &name, &v6, &rest) < 0)
		return -EINVAL;
	if (rest.len && (rest.p[0] != ':' || port_of(slice(rest.p + 1, rest.len - 1), &number) < 0))
		return -EINVAL;
	is_address = address_of(name, v6, host) == 0;
	if (!is_address && (v6 || name_of(name, host) < 0)) {
		host[0] = '\0';
		return -EINVAL;
	}
	*address = is_address;
	*port = number;
	return 0;
}

void http1_split_target(struct http1_slice t, struct http1_slice *path, struct http1_slice *query)
{
	const char *q = t.len ? memchr(t.p, '?', t.len) : NULL;

	*path = q ? slice(t.p, (size_t)(q - t.p)) : t;
	*query = q ? slice(q + 1, t.len - path->len - 1) : slice(NULL, 0);
	if (path->len == 0)
		*path = slice("/", 1);
}

int http1_url(struct http1_slice s, struct http1_url *u)
{
	struct http1_url t = {0};
	size_t at, end;

	if (s.len == 0 || !target_bytes_ok(s.p, s.len) || !http1_absolute(s))
		return -EINVAL;
	t.scheme = s.p[4] == ':' ? HTTP1_SCHEME_HTTP : HTTP1_SCHEME_HTTPS;
	at = end = t.scheme == HTTP1_SCHEME_HTTP ? 7 : 8;
	while (end < s.len && s.p[end] != '/' && s.p[end] != '?')
		end++;
	if (http1_authority(slice(s.p + at, end - at), t.host, &t.address, &t.port) < 0)
		return -EINVAL;
	t.port_given = t.port != 0;
	if (!t.port_given)
		t.port = t.scheme == HTTP1_SCHEME_HTTP ? 80 : 443;
	t.target = slice(s.p + end, s.len - end);
	http1_split_target(t.target, &t.path, &t.query);
	*u = t;
	return 0;
}
