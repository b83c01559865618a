/* parts.h: what the vault has of a secret that is not a plain value: one part or more, each a string.
 *
 * Stored as the text that was set: a JSON object of strings, {"client_id":"...","client_secret":"..."}; for a kind of
 * one part also that part alone (a private key in PEM, an HMAC key). It is taken apart when it is needed and not kept
 * apart. The JSON library's memory is wiped when it is freed: parts_start() sees to that.
 */
#ifndef PARTS_H
#define PARTS_H

#include "kind.h"
#include "secret.h"

#define PARTS_ONE_MAX 12288 /* bytes of a part */

struct parts {
	struct secret *mem; /* owned */
	struct {
		const uint8_t *p; /* NULL: it is not there */
		size_t len;
	} at[KIND_PARTS_MAX]; /* in the order of kind_part() */
};

/* Once per process, before any JSON. */
void parts_start(void);

/* -EINVAL with a sentence that quotes nothing of the text. */
int parts_open(enum kind k, const struct secret *text, struct parts *ret, struct err *e) must_check;
void parts_done(struct parts *p);
static inline void parts_cleanup(struct parts *p)
{
	parts_done(p);
}
#define auto_parts __attribute__((cleanup(parts_cleanup)))

#endif
