/* bodyref.h: what stands for a secret in a request's body, and the body with the values in its place.
 *
 * Looked for in two kinds of bodies, by their Content-Type:
 *	application/json, application/…+json	in complete strings that are values, not names of members
 *	application/x-www-form-urlencoded	in values, not in names of fields
 * In all others, in bodies with a Content-Encoding, and beyond the first thing that is no JSON, it stays text. So
 * does a reference to a secret that may not stand in this body: it is not refused, since programs that talk about
 * references must be able to.
 *
 * Values are written as the kind asks: with JSON's escapes, or percent-encoded. No other byte changes.
 *
 * Pure; the time is linear in the length. Values are only read.
 */
#ifndef BODYREF_H
#define BODYREF_H

#include "inject.h"

enum bodyref_kind { BODYREF_NONE = 0, BODYREF_JSON, BODYREF_FORM };
enum bodyref_kind bodyref_kind(const struct http1_head *h);

/* A walk through one body; zero but for the first four, set by the caller. */
struct bodyref {
	enum bodyref_kind kind;
	const char *p;
	size_t len;
	const struct ref_marks *marks;
	size_t at;               /* where it goes on */
	size_t value, value_end; /* the value that `at` is in; equal: none */
	size_t walked;           /* JSON: no escape begins before here that ends after */
};
/* The next one; false: there is none any more. */
bool bodyref_next(struct bodyref *b, struct ref_found *f);

/* Adds a need (RULES_SLOT_BODY) to `s` for each secret that stands in the body and may; -E2BIG. The rest as for
 * inject_judge(). b is at its beginning. */
int bodyref_scan(struct bodyref *b, const struct rules *r, const char *host, uint16_t port,
		 const char *method, const char *path, struct inject_scan *s) must_check;

/* The body, with values[i] for what stands for needs[i] of slot BODY. -ENOBUFS: w is full; -EINVAL: a value is empty
 * or, in JSON, not UTF-8. b is at its beginning. */
int bodyref_write(struct bodyref *b, const struct inject_scan *s, const struct inject_value *values,
		  struct wr *w) must_check;
/* How long it will be at most. */
size_t bodyref_bound(struct bodyref b, const struct inject_scan *s,
		     const struct inject_value *values);

#endif
