/* literal.h: the value of a secret itself, written out in a request by whoever sent it.
 *
 * Looked for in the whole head as it stands; in the target with its percent-encoding taken off, '+' as itself and as a
 * blank; in the credentials of Basic. Pure.
 */
#ifndef LITERAL_H
#define LITERAL_H

#include "http1.h"
#include "prints.h"

/* prints may be NULL: no. */
bool literal_in_head(const struct prints *p, const struct http1_head *h,
		     const struct http1_meaning *m);
/* In a part of a URL. */
bool literal_in_url(const struct prints *p, struct http1_slice s);

#endif
