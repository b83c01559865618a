/* http1_in.h: what the http1*.c share among themselves. */
#ifndef HTTP1_IN_H
#define HTTP1_IN_H

#include "http1.h"

#include <errno.h>
#include <string.h>

static inline bool is_ctl(unsigned char c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static inline struct http1_slice slice(const char *p, size_t len)
{
	return (struct http1_slice){.p = p, .len = len};
}

static inline struct http1_slice trim(struct http1_slice s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
		s.p++, s.len--;
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static inline bool has_ctl(const void *p, size_t len)
{
	const unsigned char *s = p;

	for (size_t i = 0; i < len; i++)
		if (is_ctl(s[i]))
			return true;
	return false;
}

/* Only visible ASCII and no fragment: what may stand in a request's target. */
static inline bool target_bytes_ok(const void *p, size_t len)
{
	const unsigned char *s = p;

	for (size_t i = 0; i < len; i++)
		if (s[i] <= 0x20 || s[i] >= 0x7f || s[i] == '#')
			return false;
	return len > 0;
}

static inline bool same_name(struct http1_slice a, const char *b, size_t len)
{
	if (a.len != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (lower(a.p[i]) != lower(b[i]))
			return false;
	return true;
}

/* The field's name is not empty. */
enum http1_id http1_id_of(struct http1_slice name);
/* Begins with http:// or https://, and goes on. */
bool http1_absolute(struct http1_slice target);
void http1_split_target(struct http1_slice t, struct http1_slice *path, struct http1_slice *query);

#endif
