/* jwt.h: a JSON Web Token that is signed with a private key: RS256 for RSA, ES256 for P-256 (RFC 7515, 7518, 7519).
 *
 * OpenSSL; needs no file and no fresh system call once it has been used.
 */
#ifndef JWT_H
#define JWT_H

#include "err.h"
#include "wr.h"

#include <stdint.h>

/* Is it a private key in PEM, without a passphrase, that can sign: RSA of at least 2048 bits, or P-256. */
int jwt_key_check(const char *pem, size_t len, struct err *e) must_check;

/* header and claims: the members of the JSON objects, without braces; "alg" and "typ" are put in front. Written to w:
 * the compact form. -EINVAL: the key; -EIO: OpenSSL. */
int jwt_make(const char *pem, size_t len, const char *header, const char *claims,
	     struct wr *w) must_check;

/* Unpadded base64url. */
void jwt_base64(const void *p, size_t len, struct wr *w);

#endif
