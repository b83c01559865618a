/* template.h: text with {words} in it: what an HMAC is made of, and how it is written.
 *
 *	message: {method} {path} {query} {target} {host} {timestamp} {timestamp_ms} {body} {body_sha256}
 *		 {header:NAME} {lf}
 *	value:	 {signature} {timestamp} {timestamp_ms}
 *
 * Pure; header names are RFC 9110 tokens.
 */
#ifndef TEMPLATE_H
#define TEMPLATE_H

#include "err.h"

#include <stddef.h>

enum template_word {
	TEMPLATE_TEXT = 0,
	TEMPLATE_METHOD,
	TEMPLATE_PATH,
	TEMPLATE_QUERY,
	TEMPLATE_TARGET,
	TEMPLATE_HOST,
	TEMPLATE_TIMESTAMP,
	TEMPLATE_TIMESTAMP_MS,
	TEMPLATE_BODY,
	TEMPLATE_BODY_SHA256,
	TEMPLATE_HEADER, /* p, len: its name */
	TEMPLATE_LF,
	TEMPLATE_SIGNATURE,
};

struct template_piece {
	enum template_word word;
	const char *p; /* TEXT, HEADER */
	size_t len;
};

/* The next piece; *at starts as the template. 1; 0 at the end; -EINVAL. */
int template_next(const char **at, struct template_piece *p) must_check;

/* message: may it stand there; else: in a value. A value has {signature} once. */
int template_check(const char *text, int message, struct err *e) must_check;

#endif
