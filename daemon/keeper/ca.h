/* ca.h: the local certificate authority: one P-256 CA, and leaves for the names that agents ask for.
 *
 * Lives in the keeper. Times are seconds since the epoch. ca_start() once per process, before the
 * lock, and before any other call.
 */
#ifndef CA_H
#define CA_H

#include "err.h"
#include "rpc.h"
#include "secret.h"

#include <stddef.h>
#include <stdint.h>

#define CA_YEARS      10
#define CA_LEAF_DAYS  7
#define CA_BACKDATE_S 3600 /* clocks of clients are not exact */
#define CA_SAVED_MAX  4096 /* bytes of ca_save() */
#define CA_SPKI_MAX   256  /* bytes of a leaf key's SubjectPublicKeyInfo */

struct ca;
struct ca_spki; /* a proxy's leaf key, parsed */

/* Sets up OpenSSL's locked heap for private keys and loads what minting needs, so that no file is
 * opened later. */
int ca_start(struct err *e) must_check;

/* A new CA: own key, self-signed, 10 years, pathlen 0, name made unique by 8 random bytes. */
int ca_new(int64_t now, struct ca **ret, struct err *e) must_check;
struct ca *ca_free(struct ca *ca);
OWN_CLEANUP(ca, struct ca, ca_free)

/* Key and certificate for the vault, and back. ca_load refuses a pair that does not fit together. */
int ca_save(const struct ca *ca, struct secret **ret, struct err *e) must_check;
int ca_load(const uint8_t *p, size_t len, struct ca **ret, struct err *e) must_check;

/* The certificate; good as long as ca. */
const uint8_t *ca_cert(const struct ca *ca, size_t *ret_len);

/* Parses a leaf's public key: P-256, uncompressed, the one DER form, nothing after it. -EINVAL. */
int ca_spki_new(const uint8_t *der, size_t len, struct ca_spki **ret) must_check;
struct ca_spki *ca_spki_free(struct ca_spki *k);
OWN_CLEANUP(ca_spki, struct ca_spki, ca_spki_free)

/* A server certificate for host: a name as rules_host_ok() has it (dNSName), or an address in the form
 * of origin_text() (iPAddress). -EINVAL for any other host, -EKEYEXPIRED when the CA is over. */
int ca_mint(const struct ca *ca, struct ca_spki *leaf, const char *host, int64_t now,
	    uint8_t out[RPC_LEAF_MAX], size_t *ret_len) must_check;

#endif
