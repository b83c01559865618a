/* sigv4.h: AWS Signature Version 4, both halves: the request as it is signed, and the signature.
 *
 * The proxy reads what the agent signed with placeholder keys (sigv4_scan), and writes the canonical request of what
 * will be forwarded (sigv4_canonical). The keeper has its hash, the time and the scope, and signs (sigv4_sign).
 *
 * Service s3 (and s3-*, s3express) has its own rules: the path is encoded once and not normalised. For the others
 * it is normalised and what was sent is encoded again.
 *
 * Pure. Slices point into the head's buffer.
 */
#ifndef SIGV4_H
#define SIGV4_H

#include "http1.h"

#include <stdbool.h>
#include <stdint.h>

#define SIGV4_WORD_MAX    64 /* bytes of a region or service, with NUL */
#define SIGV4_TIME_LEN    16 /* 20150830T123600Z */
#define SIGV4_HASH_LEN    32
#define SIGV4_HEX_LEN     64     /* of a signature or hash */
#define SIGV4_SIGNED_MAX  64     /* signed headers */
#define SIGV4_PARAMS_MAX  256    /* query parameters */
#define SIGV4_ID_MAX      128    /* bytes of an access key id */
#define SIGV4_SKEW_S      900    /* how far the agent's clock may be off */
#define SIGV4_EXPIRES_MAX 604800 /* seconds of a presigned request: a week, as AWS has it */

#define SIGV4_UNSIGNED         "UNSIGNED-PAYLOAD"
#define SIGV4_STREAM           "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
#define SIGV4_STREAM_TRAILER   "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
#define SIGV4_UNSIGNED_TRAILER "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
#define SIGV4_EMPTY_HASH       "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum sigv4_how { SIGV4_NONE = 0, SIGV4_HEADER, SIGV4_QUERY };

/* Time, date and scope, as they are signed. */
struct sigv4_scope {
	char time[SIGV4_TIME_LEN + 1]; /* its first eight bytes are the scope's date */
	char region[SIGV4_WORD_MAX], service[SIGV4_WORD_MAX];
};

/* What the agent signed. */
struct sigv4 {
	enum sigv4_how how;
	struct http1_slice id; /* access key id */
	struct sigv4_scope scope;
	uint32_t signed_count;
	struct http1_slice signed_names[SIGV4_SIGNED_MAX]; /* sorted, lower case */
	struct http1_slice payload; /* value of x-amz-content-sha256; p NULL: it is not there */
	uint32_t authorization,
		token;    /* index of the field (HEADER); field_count: it is not there */
	uint32_t expires; /* seconds (QUERY) */
};

/* 1: found; 0: there is none; -EBADMSG: there is one, but it is not as it must be. */
int sigv4_scan(const struct http1_head *h, const struct http1_meaning *m,
	       struct sigv4 *s) must_check;

/* Seconds since 1970 of a time in the form above; -1: it is none. */
int64_t sigv4_seconds(const char *time);

/* The canonical request of what will be forwarded: token is the value of x-amz-security-token, whatever the head
 * says (empty: none is sent); target is the request's with our credential, for a presigned one (else p NULL: the
 * meaning's); payload is the last line. w is full when it does not fit; -EBADMSG: a signed header is not there, or is
 * not forwarded; -E2BIG: too many parameters. */
int sigv4_canonical(const struct sigv4 *s, const struct http1_head *h,
		    const struct http1_meaning *m, struct http1_slice target,
		    struct http1_slice token, struct http1_slice payload, struct wr *w) must_check;
/* Parts of it, for the tests. */
void sigv4_path(struct http1_slice path, bool s3, struct wr *w);
int sigv4_query(struct http1_slice query, struct wr *w) must_check;

/* The Authorization value: Credential with this id, the signed headers as sigv4_canonical() had them. */
void sigv4_authorization(const struct sigv4 *s, struct http1_slice id, bool token,
			 const char hex[SIGV4_HEX_LEN], struct wr *w);
/* The target of a presigned request, without and with (hex not NULL) its signature. */
void sigv4_target(const struct sigv4 *s, const struct http1_meaning *m, struct http1_slice id,
		  struct http1_slice token, const char *hex, struct wr *w);

/* ---- the keeper's half ---- */

enum sigv4_what { SIGV4_REQUEST = 0, SIGV4_CHUNK, SIGV4_TRAILER };

bool sigv4_scope_ok(const struct sigv4_scope *c); /* words, and a time that is one */
/* hash: of the canonical request, of a chunk's data or of the trailers; before: the signature before this one (CHUNK,
 * TRAILER), in hex. */
void sigv4_sign(const uint8_t *key, size_t key_len, const struct sigv4_scope *c,
		enum sigv4_what what, const uint8_t hash[SIGV4_HASH_LEN],
		const char before[SIGV4_HEX_LEN], char hex[SIGV4_HEX_LEN + 1]);
void sigv4_hash(const void *p, size_t len, uint8_t hash[SIGV4_HASH_LEN]);

#endif
