/* messages.h: takes the coding off the messages of a gRPC or Connect body, which are compressed one by one.
 *
 * Each message is a byte of flags, four of length and so many of content; flag 1 says that the content is coded. What comes
 * out are the same messages, none of them coded, which every receiver takes (gRPC over HTTP/2, "Compression"; Connect
 * protocol, "Streaming"). A message that is not coded goes by as it comes; one that is is kept until it is whole.
 */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "recode.h"

#define MESSAGES_MAX (4u << 20) /* bytes of one message, decoded: what receivers take at most by themselves */

struct messages;

int messages_new(enum recode_coding coding, struct messages **ret) must_check;
struct messages *messages_free(struct messages *m);

/* As recode_some(): *len and *cap are what there is, and become what was done. -EFBIG: a message is too long. */
int messages_some(struct messages *m, const uint8_t *in, size_t *len, uint8_t *out, size_t *cap) must_check;
/* Stands between two messages, with nothing still to come out. */
bool messages_whole(const struct messages *m);

#endif
