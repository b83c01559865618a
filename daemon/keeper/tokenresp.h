/* tokenresp.h: what an authorization server answers: RFC 6749, 5, and GitHub's access_tokens.
 *
 * Untrusted bytes, bounded in length and depth. Nothing of them is ever shown but an error code that RFC 6749 names.
 */
#ifndef TOKENRESP_H
#define TOKENRESP_H

#include "kind.h"
#include "secret.h"

#define TOKENRESP_MAX        32768 /* bytes of a body */
#define TOKENRESP_TOKEN_MAX  12288 /* of a token */
#define TOKENRESP_LIFE_S     600   /* when the answer does not say how long it lives */
#define TOKENRESP_LIFE_MAX_S 86400
#define TOKENRESP_GITHUB_S   3600 /* GitHub's live no longer */

struct tokenresp {
	struct secret *token, *refresh; /* refresh: the next refresh token, or NULL */
	uint32_t life_s;                /* at least 1 */
};

/* now: seconds since 1970 by the server's clock, or ours if it does not say. 0; -EKEYREJECTED: the server refuses, *ret_code names the error or is ""; -EBADMSG: it makes
 * no sense, or the server is not well. */
int tokenresp_parse(enum kind k, int status, const void *body, size_t len, int64_t now,
		    struct tokenresp *ret, const char **ret_code) must_check;
void tokenresp_done(struct tokenresp *r);

#endif
