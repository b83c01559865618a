/* redact.h: finds the values of secrets in a text that goes by, in any of their spellings, and masks them.
 *
 * A value is found
 *	as text		each byte as it is, or percent-encoded, or as a JSON or C escape (\u0073, \x73, \/),
 *			or as an HTML character reference (&#115; &#x73; &amp; &quot;), in any mix, hex digits in
 *			either case; '+' for a space; characters beyond ASCII also as one escape (\u00e9, surrogate
 *			pairs), or read as Latin-1 and encoded again
 *	in hex		either case, without separators
 *	in base64	both alphabets, at each of the three alignments, so also inside of a longer text; '+' and
 *			'/' may be escaped as above; a line break (LF or CRLF, as it is or escaped, with the
 *			blanks of an indented next line) may stand between any two characters
 * and nothing is found of it in two encodings on top of each other, compressed (see recode.h), reversed, cut
 * into pieces that other bytes keep apart, or in any other disguise: who was sent a secret and wants to give it away
 * can.
 *
 * Each byte of a find is replaced by '*' (CR and LF stay), so lengths do not change and nothing is framed
 * anew; a find of base64 includes the characters that hold some of the value's bits, but the first one when
 * that has only the two highest of them. Values shorter than REDACT_MIN are not looked for: they would hit
 * ordinary text; those shorter than REDACT_MIN_CODED as text only. There is no limit to the number of finds.
 *
 * Pure: no I/O, no clock, no allocation, no log. Values are copied into the caller's memory, which it wipes.
 */
#ifndef REDACT_H
#define REDACT_H

#include "own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDACT_MIN        6     /* bytes of the shortest value that is looked for */
#define REDACT_MIN_CODED  8     /* in hex and base64 too */
#define REDACT_MAX        16384 /* bytes of a value: RPC_SECRET_MAX */
#define REDACT_VALUES_MAX 544 /* of a document and former ones */
#define REDACT_BREAK_MAX  64 /* bytes of a line break in base64 with its blanks */

struct redact_value {
	const uint8_t *p;
	size_t len;
};

/* What is looked for; made once for a set of values, used by any number of texts. */
struct redact;
/* How much memory it takes, aligned as malloc's; 0: too many values or one too long. */
size_t redact_size(const struct redact_value *v, size_t count);
/* Makes it in `mem`, of redact_size() bytes; it is `mem`. */
struct redact *redact_make(void *mem, const struct redact_value *v, size_t count);

/* One text. Zero-initialised by the caller for each. */
struct redact_text {
	uint64_t found;
	size_t mask;       /* bytes from here on that are part of a find */
	uint8_t before[4]; /* the last bytes that went by */
};

/* Looks at the next bytes p[0..len) of a text and masks finds in place. Returns how many bytes from p on are done
 * with; the rest may be the beginning of a find and must stand first at the next call, unchanged, with what
 * follows. last: nothing follows; all of it is done with. However a text is cut, the result is the same. */
size_t redact_scan(const struct redact *r, struct redact_text *t, uint8_t *p, size_t len,
		   bool last);

#endif
