/* typed.c: see typed.h. */
#include "typed.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int typed_port(const char *typed, uint16_t *port, struct err *e)
{
	unsigned long n = 0;

	if (!typed[0] || strlen(typed) > 5 || strspn(typed, "0123456789") != strlen(typed) ||
	    (n = strtoul(typed, NULL, 10)) == 0 || n > 65535)
		return err_set(e, -EINVAL, "\"%.40s\" is not a port; use 1 to 65535", typed);
	*port = (uint16_t)n;
	return 0;
}

int typed_number(const char *typed, long min, long *ret)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(typed, &end, 10);
	if (errno || end == typed || *end || n < min)
		return -EINVAL;
	*ret = n;
	return 0;
}

/* Refuses what is pasted from a browser, and names the host in it. */
static int not_a_url(const char *typed, struct err *e)
{
	const char *host = strstr(typed, "://");
	size_t len;

	if (!host && !strpbrk(typed, "/?#@"))
		return 0;
	host = host ? host + 3 : typed;
	len = strcspn(host, "/?#");
	if (memchr(host, '@', len))
		return err_set(e, -EINVAL, "an allowlist holds hosts, not addresses with a user in them; give the host "
			       "alone");
	if (len == 0 || len > 253)
		return err_set(e, -EINVAL, "an allowlist holds hosts, not URLs; give the host alone, as in: "
			       "api.example.com");
	return err_set(e, -EINVAL, "an allowlist holds hosts, not URLs; type: %.*s%s", (int)len, host,
		       host[len] == '/' && host[len + 1] ? " (and --path GLOB to allow a part of it only)" : "");
}

int typed_host(const char *typed, char host[TYPED_HOST_MAX], uint16_t *port, struct err *e)
{
	const char *colon = strrchr(typed, ':');
	const char *bracket = typed[0] == '[' ? strchr(typed, ']') : NULL;
	size_t len = strlen(typed);
	int rc = not_a_url(typed, e);

	*port = 0;
	if (rc)
		return rc;
	if (typed[0] == '[' && (!bracket || (bracket[1] && bracket[1] != ':')))
		return err_set(e, -EINVAL, "\"%.80s\" is not an address in brackets, as in [2001:db8::1]:443", typed);
	if (bracket) {
		colon = bracket[1] ? bracket + 1 : NULL;
		typed++;
		len = (size_t)(bracket - typed);
	} else if (colon && strchr(typed, ':') == colon) {
		len = (size_t)(colon - typed);
	} else {
		colon = NULL; /* none, or a bare IPv6 address */
	}
	if (len == 0)
		return err_set(e, -EINVAL, "the host is empty; give one, as in: api.example.com");
	if (len >= TYPED_HOST_MAX)
		return err_set(e, -EINVAL, "the host is longer than 253 bytes, which no name can be");
	rc = colon ? typed_port(colon + 1, port, e) : 0;
	if (rc)
		return rc;
	memcpy(host, typed, len);
	host[len] = '\0';
	return 0;
}

static bool ago(const char *typed, uint64_t now_ns, uint64_t *ret)
{
	static const struct { char unit; uint64_t s; } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t digits = strspn(typed, "0123456789");

	if (digits == 0 || digits > 6 || strlen(typed) != digits + 1)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (typed[digits] == units[i].unit) {
			uint64_t back = strtoull(typed, NULL, 10) * units[i].s * 1000000000u;

			*ret = back < now_ns ? now_ns - back : 0;
			return true;
		}
	return false;
}

int typed_since(const char *typed, uint64_t now_ns, uint64_t *ret, struct err *e)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%MZ",
					    "%Y-%m-%dT%H:%M", "%Y-%m-%d"};

	if (ago(typed, now_ns, ret))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm tm = {0};
		const char *end = strptime(typed, forms[i], &tm);
		time_t t = end && !*end ? timegm(&tm) : -1;

		if (t >= 0) {
			*ret = (uint64_t)t * 1000000000u;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "\"%.40s\" is not a time; use 15m, 2h, 3d, or 2026-11-23T07:00 (UTC)", typed);
}
