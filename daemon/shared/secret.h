/* secret.h: bytes that must not leave this process by accident.
 *
 * Guard pages on both sides, locked in memory, left out of core dumps, zero in a forked child, wiped
 * when freed. The last byte of the area stands right before the upper guard page.
 */
#ifndef SECRET_H
#define SECRET_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct secret;

#define SECRET_SIZE_MAX (1u << 20)

/* len zero bytes, 1 to SECRET_SIZE_MAX. -ENOMEM; -EPERM when RLIMIT_MEMLOCK does not allow one page to
 * be locked, which no caller may put up with. When the limit is merely used up, the bytes are not
 * locked, all else holds, and secret_locked() says so. */
int secret_new(size_t len, struct secret **ret, struct err *e) must_check;
/* The same with a copy of len bytes; the caller wipes its own. */
int secret_of(const void *p, size_t len, struct secret **ret, struct err *e) must_check;
/* The same of what somebody else says is a value: refused as secret_read_fd() without flags would. */
int secret_of_value(const void *p, size_t len, size_t max, struct secret **ret, struct err *e) must_check;
struct secret *secret_free(struct secret *s);
OWN_CLEANUP(secret, struct secret, secret_free)

/* Good until secret_free(). */
uint8_t *secret_bytes(struct secret *s);
const uint8_t *secret_view(const struct secret *s);
size_t secret_len(const struct secret *s);
bool secret_locked(const struct secret *s);

/* Makes it shorter: what is beyond len is wiped. len: 1 to the present length. */
void secret_cut(struct secret *s, size_t len);

/* Constant time in the contents, not in the length. */
bool secret_same(const struct secret *s, const void *p, size_t len);

#define SECRET_MULTILINE 1u /* CR and LF are part of the value, the final ones too (PEM) */
#define SECRET_RAW       2u /* any byte: key files */

/* Fills a secret straight from fd, to its end, waiting at most timeout_ms in all (poll(2), so that a
 * pipe may be blocking). Without flags: one value for one line. A final newline is dropped (people pipe
 * with echo); empty, over max, NUL, CR, LF inside, control bytes but TAB and DEL are refused with a
 * sentence that never quotes the value. -EINVAL, -E2BIG, -ETIMEDOUT, or what read(2) said. */
int secret_read_fd(int fd, size_t max, unsigned int flags, int timeout_ms, struct secret **ret,
		   struct err *e) must_check;

#endif
