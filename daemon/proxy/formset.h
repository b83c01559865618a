/* formset.h: one parameter set in a query or in a body of type application/x-www-form-urlencoded.
 *
 * The text stays as it is, byte for byte and in its order, but for the one value: that of the parameter where the name
 * stands, or a new parameter at the end. Names are compared decoded (percent escapes, '+' for a blank); case counts.
 *
 * Pure.
 */
#ifndef FORMSET_H
#define FORMSET_H

#include "http1.h"

/* Writes `text` with `name` (decoded bytes) set to `value` (written as it is) to w. -EEXIST: the name stands there more
 * than once, so that it is not known which one counts; -ENOBUFS. */
int formset(struct http1_slice text, struct http1_slice name, struct http1_slice value,
	    struct wr *w) must_check;

/* %XX in `in` becomes that byte; all else stays. Bytes written to out[cap], or -EINVAL: a '%' that begins no escape, or
 * too long. */
int formset_unescape(struct http1_slice in, char *out, size_t cap) must_check;

#endif
