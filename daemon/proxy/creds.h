/* creds.h: credential values in a proxy: where they lie, and which may be kept for a few seconds.
 *
 * All values lie in one locked, undumped area made at start (secret.h), each once however many requests hold it, and
 * are wiped when the last has given it back.
 * A lease is a value kept for the next request of the same guard, name, slot, host and port; none is
 * kept unless the configuration asks for it (keeper.credential_lease).
 */
#ifndef CREDS_H
#define CREDS_H

#include "err.h"
#include "rpc.h"

#include <stdbool.h>

#define CREDS_AREA (256u * 1024)
#define CREDS_UNIT 256u
#define CREDS_LEASES 128

struct creds;

/* lease_s: 0: nothing is kept. */
int creds_new(uint32_t lease_s, struct creds **ret, struct err *e) must_check;
struct creds *creds_free(struct creds *c);

/* A value of one request. */
struct cred {
	const uint8_t *p; /* NULL: none */
	size_t len;
};
/* -ENOBUFS when the area is full; -EINVAL when empty or over RPC_SECRET_MAX. */
int creds_hold(struct creds *c, const uint8_t *p, size_t len, struct cred *ret) must_check;
void creds_drop(struct creds *c, struct cred *v);

/* Keeps a held value as a lease; when all leases are taken, nothing is kept. */
void creds_lease(struct creds *c, const struct rpc_credential *of, const struct cred *v, uint64_t now_ms);
/* Holds a live lease's value for *ret as well; false: there is none. */
bool creds_find(struct creds *c, const struct rpc_credential *of, uint64_t now_ms, struct cred *ret);
/* Ends the leases of a guard (0: any) and name (NULL: any). c may be NULL. */
void creds_forget(struct creds *c, uint64_t guard, const char *name);
/* Ends the leases whose time is over. */
void creds_sweep(struct creds *c, uint64_t now_ms);

#endif
