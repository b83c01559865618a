/* inject.h: what secrets a request needs, whether they may go there, and the values in their places.
 *
 * A need comes from what the client wrote (ref.h: a reference or a placeholder in a field, in Basic credentials, in
 * the path or the query), from a rule that puts a secret into each request, or from whoever else asks for one by
 * inject_add(). All are judged alike. What is no reference stays text. Bytes around references do not change.
 * Bodies are bodyref.h's; their needs are in the same list.
 *
 *	inject_scan()	 after the head is parsed	→ refs and their needs
 *	inject_attach()	 when the rule is known		→ places and their needs
 *	inject_judge()	 after the route is allowed	→ REASON_NONE or the first refusal
 *	inject_edits(), inject_replace() as http1_out's, with the values	→ bytes on the wire
 *
 * A place is written whole: every field of its name (the Authorization field for Basic), every parameter of its
 * name, goes, and what the client referred to there is not needed.
 *
 * Pure. Values are only read, and only into the caller's wr; copies made on the stack are wiped.
 */
#ifndef INJECT_H
#define INJECT_H

#include "http1.h"
#include "ref.h"
#include "rules.h"

#define INJECT_MAX 16	     /* references in one head; needs of one request; places */
#define INJECT_EDITS_MAX (HTTP1_FIELDS_MAX + INJECT_MAX)
#define INJECT_BASIC_MAX 4096 /* decoded bytes of Basic credentials that are looked into */

/* One credential for the keeper; the same name in the same slot is needed once. */
struct inject_need {
	char name[RPC_NAME_MAX];
	enum rules_slot slot;
};

struct inject_ref {
	uint32_t need;	/* index of its need */
	uint32_t field; /* index of the field, or HTTP1_TARGET */
	uint32_t at, len; /* in the field's value; in the decoded credentials (BASIC); in meaning->target */
};

/* Something that we write, not the client: as struct rules_attach says. */
struct inject_place {
	uint32_t need;
	char name[64];
	char prefix[64], suffix[64];
};

/* Holds no pointers and no values. Refs are in order of field (the target last) and place. */
struct inject_scan {
	uint32_t need_count, ref_count, place_count;
	struct inject_need needs[INJECT_MAX];
	struct inject_ref refs[INJECT_MAX];
	struct inject_place places[INJECT_MAX];
};

/* 0, or -E2BIG when there are more than INJECT_MAX: the request is refused with REASON_LIMIT. Fields that
 * are not forwarded (http1_is_hop) are not looked at. *s is empty after a failure. marks: of the workspace's
 * document, or NULL. */
int inject_scan(const struct http1_head *h, const struct http1_meaning *m, const struct ref_marks *marks,
		struct inject_scan *s) must_check;

/* One more need, with its index in *ret: for those whose place is not in the head (BODY). -E2BIG. */
int inject_need(struct inject_scan *s, const char *name, size_t len, enum rules_slot slot, uint32_t *ret) must_check;
/* One place more, in slot HEADER, BASIC or QUERY: strings as in struct rules_attach, checked by rules.h or alike by
 * the caller. -E2BIG; -EEXIST: another one writes there. */
int inject_add(struct inject_scan *s, const struct rules_attach *a) must_check;
/* Adds what the rules attach to this request and settles. -E2BIG, -EEXIST. path: as rules_secret_may_in(). */
int inject_attach(const struct rules *r, const char *host, uint16_t port, const char *method, const char *path,
		  const struct http1_head *h, const struct http1_meaning *m, struct inject_scan *s) must_check;

/* May all of them go to this host and port, with this method and path (as rules_secret_may_in()); REASON_NONE means
 * yes (also when there are none). */
enum reason inject_judge(const struct rules *r, const char *host, uint16_t port, const char *method, const char *path,
			 const struct inject_scan *s);

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
	const struct ref_marks *marks;	   /* as the scan had them */
};

/* What http1_out.edits needs for the places: at most `max`, else -E2BIG; their number. */
int inject_edits(const struct http1_head *h, const struct inject_scan *s, struct http1_edit *edits,
		 size_t max) must_check;

/* http1_replace_fn with a struct inject_fill as ctx. 1: written; 0: no reference there; -EINVAL: a value
 * is empty, holds a control byte (header and Basic) or is nothing but dots
 * (path); -EBADMSG: head and scan do not belong together. */
int inject_replace(void *fill, uint32_t field, struct wr *w);

/* The credentials of a field "Authorization: Basic ..." in out: their length, or -1 when it is none. The caller wipes. */
int inject_basic(const struct http1_field *f, uint8_t out[INJECT_BASIC_MAX]);

/* The path with each reference replaced by its name: what a path rule is compared with, since a value is
 * written percent-encoded and so stays within its segment. Bytes written, or 0 when it does not fit. */
size_t inject_path(struct http1_slice path, char *out, size_t cap);

#endif
