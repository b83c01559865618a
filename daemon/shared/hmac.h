/* hmac.h: kind hmac: a reference that becomes a signature of the request it stands in.
 *
 * The proxy writes the message by the parameter "message" (hmac_message); the keeper makes the signature and writes it
 * by "value" (hmac_value). Pure.
 */
#ifndef HMAC_H
#define HMAC_H

#include "http1.h"

#define HMAC_MESSAGE_MAX RPC_TAIL_MAX

/* What a message is written of. */
struct hmac_request {
	const struct http1_head *head;
	const struct http1_meaning *meaning;
	const char *host;
	struct http1_slice query; /* without the parameter that the signature goes to */
	struct http1_slice body;
	uint64_t at_ms; /* since 1970 */
};

/* -ENOENT: a header that the message names is not there, or not once; -E2BIG: it does not fit. */
int hmac_message(const char *params, const struct hmac_request *q, struct wr *w) must_check;

/* The query without the first parameter that holds a reference to this name, into out. */
void hmac_query(struct http1_slice query, const char *name, struct wr *out);

/* -EINVAL: the key is not in key_encoding, or the parameters make no sense. */
int hmac_value(const char *params, const uint8_t *key, size_t key_len, const uint8_t *message,
	       size_t len, uint64_t at_ms, char *out, size_t cap, size_t *ret_len) must_check;

#endif
