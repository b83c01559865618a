/* jsonset.h: one member set in a JSON text (RFC 8259), at a path of names.
 *
 * The text is not printed anew: every byte that is not the member's own value stays, so numbers keep their digits and
 * members their order. Where the last name of the path stands, its value is replaced; where it does not, the member is
 * added at the end of the object, and so are the objects on the way to it. The text is checked to its end, so that no
 * two readers differ about it: not JSON, a name that stands twice in an object on the way, and an array, string, number
 * or literal where the path goes on are errors. An empty text counts as {}.
 *
 * Pure; no recursion over the text.
 */
#ifndef JSONSET_H
#define JSONSET_H

#include "http1.h"

#define JSONSET_NAMES_MAX 16  /* of a path */
#define JSONSET_NAME_MAX  256 /* bytes of a name, without escapes */
#define JSONSET_DEPTH_MAX 128 /* of objects and arrays in the text */

struct jsonset_path {
	uint32_t count;                             /* at least 1 */
	struct http1_slice name[JSONSET_NAMES_MAX]; /* UTF-8, as it means, without escapes */
};

/* Writes `text` with the member at `path` set to `value`, which is JSON already. -EBADMSG: the text is no JSON;
 * -EEXIST: the path goes through something that is no object, or a name on it stands twice; -E2BIG: too deep;
 * -ENOBUFS: w is full. */
int jsonset(struct http1_slice text, const struct jsonset_path *path, struct http1_slice value,
	    struct wr *w) must_check;

#endif
