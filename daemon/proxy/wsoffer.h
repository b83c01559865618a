/* wsoffer.h: a WebSocket's handshake, from the client's side: what it offered, and whether the server's 101 answers that.
 * RFC 6455, 4.1 and 4.2.2. We check it as a client does, since it is we who go on to speak WebSocket to the upstream: a 101 that
 * some cache, or a server that does not know WebSocket, sends is no beginning of one.
 */
#ifndef WSOFFER_H
#define WSOFFER_H

#include "http1.h"

#define WSOFFER_ACCEPT_LEN 28

struct wsoffer; /* what a 101 must answer */

/* Of a request that asks for a WebSocket, with or without the fields that it needs: without a key, or with two, no 101
 * will do. */
int wsoffer_new(const struct http1_head *request, struct wsoffer **ret) must_check;
struct wsoffer *wsoffer_free(struct wsoffer *o);

/* NULL: the 101 answers it, chooses at most one of its protocols, and no extension, since none goes up. Else our words. */
const char *wsoffer_bad(const struct wsoffer *o, const struct http1_head *response);

#endif
