/* prints.h: fingerprints of a workspace's values, by which a proxy that has none of them sees one go by.
 *
 * The keeper makes one of each value of PRINTS_MIN bytes or more and hands them to the proxies: the length, 16 bits of
 * a hash of the first eight bytes, 16 of the eight in the middle, 48 of a SipHash of all of it, all under a random
 * key. Who takes over a proxy can test guesses of a value with them (80 bits and its length), and learns nothing else
 * of one that cannot be guessed. 2^-48 of places in a text are a find by chance where both windows fit.
 *
 * A text is searched as it is; who calls decodes (percent, base64) what may be decoded. One look per byte.
 */
#ifndef PRINTS_H
#define PRINTS_H

#include "own.h"
#include "rpc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINTS_MIN 8
#define PRINTS_KEY 16

struct prints_item {
	uint32_t len;
	uint16_t first, middle;
	uint64_t whole;
};

/* value: PRINTS_MIN bytes or more. */
struct prints_item prints_of(const uint8_t key[PRINTS_KEY], const uint8_t *value, size_t len);

struct prints;
/* From what the keeper sent: the key and its items. -EPROTO: that is not it; *ret NULL: there are none. */
int prints_new(const uint8_t *p, size_t len, struct prints **ret) must_check;
struct prints *prints_free(struct prints *p);

/* Does a value stand anywhere in these bytes. p NULL: no. */
bool prints_find(const struct prints *p, const void *text, size_t len);
/* The same, and where: [*at, *at + *n). */
bool prints_find_at(const struct prints *p, const void *text, size_t len, size_t *at, size_t *n);

/* A text that comes in pieces: the end of what came before is kept, wiped in the end. */
struct prints_text {
	uint8_t *kept;
	size_t len, cap;
};
/* True: a value ends in this piece. */
bool prints_next(const struct prints *p, struct prints_text *t, const void *piece, size_t len);
void prints_text_done(struct prints_text *t); /* safe twice */

#endif
