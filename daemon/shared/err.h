/* err.h: the sentence that a person reads when something failed.
 *
 * Set where it broke, widened on the way up:
 *
 *	if (port == 0)
 *		return err_set(e, -EINVAL, "port 0 cannot be allowed; use 1 to 65535");
 *	...
 *	return err_in(e, rc, "rule %zu", i);	// "rule 3: port 0 cannot be ..."
 *
 * A sentence says what is wrong and what to do. It never quotes a secret's value. `e` may be NULL.
 */
#ifndef ERR_H
#define ERR_H

#include "own.h"

#define ERR_MAX 512

struct err {
	char text[ERR_MAX]; /* NUL-terminated; cut when longer, never overrun */
};

/* Both return rc, so that they can stand in a return statement. */
int err_set(struct err *e, int rc, const char *fmt, ...) printf_like(3, 4);
int err_in(struct err *e, int rc, const char *fmt, ...) printf_like(3, 4);

#endif
