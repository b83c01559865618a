/* hello.h: what a connection's first bytes are, and what a TLS ClientHello asks for.
 *
 * Pure. The hello is read whole from the bytes peeked so far; every extension block is bounded by its
 * length and must end exactly. SSLv2 hellos, SSL 3.0, repeated extensions, several or malformed names,
 * addresses or NUL in the name: refused.
 */
#ifndef HELLO_H
#define HELLO_H

#include "rpc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELLO_MAX 16384	      /* bytes of the hello, its records' headers included */
#define HELLO_RECORDS_MAX 32  /* records that it may be spread over */
#define HELLO_EXTENSIONS_MAX 64

enum hello_kind {
	HELLO_KIND_NEITHER = 0,
	HELLO_KIND_MORE, /* could be TLS or HTTP yet */
	HELLO_KIND_TLS,	 /* handshake record, version 3.x */
	HELLO_KIND_HTTP, /* METHOD and the first byte of a target; http1_request() decides */
};
#define HELLO_KIND_BYTES 34 /* never MORE with so many */

enum hello_kind hello_kind(const uint8_t *p, size_t len);

enum hello_result {
	HELLO_BAD = 0,
	HELLO_MORE,
	HELLO_NOT_TLS,
	HELLO_DONE,
};

struct hello {
	char sni[RPC_HOST_MAX]; /* lower case, without a final dot; "": none sent */
	bool alpn;		/* sent one: */
	bool h2, http11;	/* "h2", "http/1.1" were in it */
	bool ech;		/* encrypted_client_hello: the real name may be another */
	bool tls13;		/* supported_versions has 0x0304 */
	uint16_t version;	/* legacy_version: 0x0301..0x0303 */
	size_t len;		/* bytes up to the end of the record that ended the hello */
};

/* Bytes from the start of the connection; the same bytes give the same answer however they came. *h is
 * untouched unless DONE. */
enum hello_result hello_parse(const uint8_t *p, size_t len, struct hello *h) must_check;

/* Host syntax of SNI, Host and CONNECT: as rules_host_ok(), but single labels are left to the rules: no
 * rule names one. host is lower case already and need not end in NUL. */
bool hello_host_ok(const char *host, size_t len);

#endif
