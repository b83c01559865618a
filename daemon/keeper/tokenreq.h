/* tokenreq.h: the request by which a kind that mints asks for a token: a whole HTTP/1.1 request, in memory of secret.h.
 *
 *	oauth2-client	RFC 6749, 4.4; the client in Basic (default) or, with auth=body, in the form
 *	oauth2-refresh	RFC 6749, 6; likewise, without a client_secret in the form
 *	jwt-bearer	RFC 7523, 2.1: an assertion of five minutes
 *	github-app	a JWT of at most ten minutes as bearer, to the installation's access_tokens
 */
#ifndef TOKENREQ_H
#define TOKENREQ_H

#include "parts.h"

#define TOKENREQ_MAX 32768

/* now: seconds since 1970. -EINVAL, with a sentence that quotes no part. */
int tokenreq_make(enum kind k, const char *params, const struct parts *p, int64_t now,
		  struct secret **ret, struct err *e) must_check;

#endif
