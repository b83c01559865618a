/* inject.h: finds references in a request, asks whether they may go there, writes values in their place.
 *
 * A reference is `agentsecrets://NAME`: NAME as rules_name_ok(), the longest run of its characters; a run
 * that is too long is no reference. In the target `://` may be percent-encoded, in whole or in part. What
 * is no reference stays text. Bytes around references do not change. Bodies are not looked at.
 *
 *	inject_scan()	after the head is parsed		→ needs (what to ask the keeper for), refs
 *	inject_judge()	after the route is allowed		→ REASON_NONE or the first refusal
 *	inject_replace() as http1_out.replace, with the values	→ bytes on the wire
 *
 * Pure. Values are only read, and only into the caller's wr; copies made on the stack are wiped.
 */
#ifndef INJECT_H
#define INJECT_H

#include "http1.h"
#include "rules.h"

#define INJECT_MAX 16	     /* references in one request */
#define INJECT_BASIC_MAX 4096 /* decoded bytes of Basic credentials that are looked into */

/* One credential for the keeper; the same name in the same slot is needed once. */
struct inject_need {
	char name[RPC_NAME_MAX];
	enum rules_slot slot; /* HEADER, BASIC, QUERY or PATH */
};

struct inject_ref {
	uint32_t need;	/* index of its need */
	uint32_t field; /* index of the field, or HTTP1_TARGET */
	uint32_t at, len; /* in the field's value; in the decoded credentials (BASIC); in meaning->target */
};

/* Holds no pointers and no values. Refs are in order of field (the target last) and place. */
struct inject_scan {
	uint32_t need_count, ref_count;
	struct inject_need needs[INJECT_MAX];
	struct inject_ref refs[INJECT_MAX];
};

/* 0, or -E2BIG when there are more than INJECT_MAX: the request is refused with REASON_LIMIT. Fields that
 * are not forwarded (http1_is_hop) are not looked at. *s is empty after a failure. */
int inject_scan(const struct http1_head *h, const struct http1_meaning *m, struct inject_scan *s) must_check;

/* May all of them go to this host and port; REASON_NONE means yes (also when there are none). */
enum reason inject_judge(const struct rules *r, const char *host, uint16_t port, const struct inject_scan *s);

struct inject_value {
	const uint8_t *p;
	size_t len;
};

/* What inject_replace() works on; `ctx` of http1_out. */
struct inject_fill {
	const struct http1_head *head;
	const struct http1_meaning *meaning;
	const struct inject_scan *scan;
	const struct inject_value *values; /* scan->need_count of them, in the order of needs */
};

/* http1_replace_fn with a struct inject_fill as ctx. 1: written; 0: no reference there; -EINVAL: a value
 * is empty, holds a control byte (header and Basic) or is nothing but dots
 * (path); -EBADMSG: head and scan do not belong together. */
int inject_replace(void *fill, uint32_t field, struct wr *w);

/* The path with each reference replaced by its name: what a path rule is compared with, since a value is
 * written percent-encoded and so stays within its segment. Bytes written, or 0 when it does not fit. */
size_t inject_path(struct http1_slice path, char *out, size_t cap);

/* Is there anything that looks like the start of a reference: a quick look over any bytes. */
bool inject_maybe(const void *p, size_t len);

#endif
