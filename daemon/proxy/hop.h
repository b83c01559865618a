/* hop.h: what is said to the corporate proxy on the way to upstreams (upstream.proxy of the configuration), and by it.
 * RFC 9110, 9.3.6 and 11.7; Basic: RFC 7617. Pure.
 */
#ifndef HOP_H
#define HOP_H

#include "own.h"
#include "wr.h"

#include <stdint.h>

#define HOP_PASSWORD_MAX 512
#define HOP_REQUEST_MAX  2048 /* bytes of a CONNECT */
#define HOP_REPLY_MAX    4096 /* bytes of the head that answers it */

enum hop_says {
	HOP_NONSENSE = 0,
	HOP_THROUGH,     /* the connection is the upstream's from here on */
	HOP_NEXT,        /* it cannot reach that address; another may do */
	HOP_CREDENTIALS, /* it wants some, or others */
	HOP_REFUSED,
};

/* Asks for this address, v4-mapped, not for a name: the proxy must not resolve it to another. user "": without
 * credentials. w has them in base64 then: the caller wipes it. -EINVAL: the password is too long or has control
 * bytes; -ENOBUFS. */
int hop_request(const uint8_t to[16], uint16_t port, const char *user, const uint8_t *password,
		size_t len, struct wr *w) must_check;
/* What the head of an answer means; head ends in NUL. */
enum hop_says hop_says(const char *head);

#endif
