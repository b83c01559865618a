/* ref.h: finds what stands for a secret in a text: references and placeholders.
 *
 * A reference is `agentsecrets://NAME`: NAME as rules_name_ok(), the longest run of its characters; a run that is
 * too long is no reference. `://` may be percent-encoded, in whole or in part, where the text is a URL or a form
 * (REF_PERCENT), and written `:\/\/` within a JSON string (REF_JSON). A placeholder is a string of the secret's
 * own (rules.h), made of characters that no encoding changes; it is found wherever it stands, but not where it
 * would begin inside of a percent escape.
 *
 * Pure. The search for placeholders costs one look per byte however many there are, and nothing when there are none.
 */
#ifndef REF_H
#define REF_H

#include "http1.h"
#include "rules.h"

enum ref_form { REF_PLAIN = 0, REF_PERCENT, REF_JSON };

/* The placeholders of one document. Pointers into it: it lives as long as the document. */
struct ref_marks;
/* *ret NULL: there are none. -ENOMEM. */
int ref_marks_new(const struct rules *r, struct ref_marks **ret) must_check;
struct ref_marks *ref_marks_free(struct ref_marks *m);
OWN_CLEANUP(ref_marks, struct ref_marks, ref_marks_free)

struct ref_found {
	size_t at, len;   /* all of it, in the text */
	const char *name; /* the secret's; not NUL-terminated */
	size_t name_len;
};

/* The first one that begins at or after `from`. marks may be NULL. */
bool ref_find(struct http1_slice s, size_t from, enum ref_form form, const struct ref_marks *marks,
	      struct ref_found *f);

/* Does anything here look like the start of a reference, or is a placeholder in it: a quick look over any bytes. */
bool ref_maybe(const void *p, size_t len, const struct ref_marks *marks);

/* Percent-encodes all but RFC 3986's unreserved characters: a value never is more than a part of one path segment,
 * parameter or field. */
void ref_write_percent(struct wr *w, const uint8_t *p, size_t len);

#endif
