/* known.h: the secrets that a host may have been sent, compiled to be looked for in its responses.
 *
 * Made from values when an exchange needs them, shared by all exchanges of the same document, host and port that are
 * under way, and wiped with the last one: no value stays for the next request. It lies in memory of secret.h.
 */
#ifndef KNOWN_H
#define KNOWN_H

#include "creds.h"
#include "redact.h"

struct known {
	struct known *next;
	uint64_t epoch; /* of the workspace (who.h): one document, one set of values */
	char host[RPC_HOST_MAX];
	uint16_t port;
	uint32_t uses;
	struct secret *mem;
	const struct redact *redact; /* in mem */
};

/* One that is in use now, and used once more; NULL: there is none. */
struct known *known_find(struct known *list, uint64_t epoch, const char *host, uint16_t port);
/* Made of count >= 1 values, used once. -E2BIG, -ENOMEM, -EPERM. */
int known_new(struct known **list, uint64_t epoch, const char *host, uint16_t port,
	      const struct cred *values, size_t count, struct known **ret) must_check;
void known_drop(struct known **list, struct known *k); /* k may be NULL */

#endif
