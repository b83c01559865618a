/* truststore.h: the files by which a guarded program trusts our CA.
 *
 *	ca.pem		our CA alone
 *	bundle.pem	the system's CAs and ours
 *	cacerts.jks	the same as a Java key store (JKS 2, password TRUSTSTORE_JKS_PASSWORD)
 *
 * World-readable (0644): they hold nothing secret, and every guarded program reads them.
 */
#ifndef TRUSTSTORE_H
#define TRUSTSTORE_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

#define TRUSTSTORE_CA "ca.pem"
#define TRUSTSTORE_BUNDLE "bundle.pem"
#define TRUSTSTORE_JKS "cacerts.jks"
#define TRUSTSTORE_JKS_PASSWORD "changeit" /* Java's convention; it guards against accidents only */
#define TRUSTSTORE_CERTS_MAX 1024

/* Writes the three files into dirfd, each replaced in one step, the CA alone first. system_bundle: path
 * of the host's PEM bundle. now_ms: CLOCK_REALTIME, noted in the key store. A bundle that cannot be read
 * or holds no certificate is an error: clients would lose the CAs that tunnelled hosts need. */
int truststore_write(int dirfd, const char *system_bundle, const uint8_t *ca_der, size_t ca_len,
		     uint64_t now_ms, struct err *e) must_check;

#endif
