/* dnsmsg.h: DNS messages: reading one query, writing its answer. RFC 1035, RFC 6891 (EDNS), RFC
 * 2308.
 *
 * Pure: no I/O, no clock, no allocation. A query has exactly one question and nothing else but, at
 * most, one OPT record; a compression pointer in it is refused. An answer repeats the question's
 * bytes as they came (clients that mix case compare them) and is written from what was parsed,
 * never copied otherwise. An answer always fits: address records that do not are left out rather
 * than TC set, since musl has no TCP fallback; at least one always fits.
 */
#ifndef DNSMSG_H
#define DNSMSG_H

#include "own.h"
#include "rpc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNSMSG_QUERY_MAX    1024 /* longest query read; longer ones are refused */
#define DNSMSG_UDP_MIN      512  /* longest answer over UDP without EDNS */
#define DNSMSG_ANSWER_MAX   1232 /* longest answer of all, over TCP too: no fragments on any path */
#define DNSMSG_NAME_MAX     255  /* a name on the wire */
#define DNSMSG_QUESTION_MAX (DNSMSG_NAME_MAX + 4)

enum dnsmsg_type { DNSMSG_A = 1, DNSMSG_AAAA = 28 };

/* RFC 1035 §4.1.1; 16 is RFC 6891's and goes through the OPT record. */
enum dnsmsg_rcode {
	DNSMSG_NOERROR = 0,
	DNSMSG_FORMERR = 1,
	DNSMSG_SERVFAIL = 2,
	DNSMSG_NXDOMAIN = 3,
	DNSMSG_NOTIMP = 4,
	DNSMSG_REFUSED = 5,
	DNSMSG_BADVERS = 16,
};

struct dnsmsg_query {
	uint16_t id;
	uint16_t flags; /* of the header, as sent */
	uint16_t type;
	uint16_t question_len; /* 0: the question could not be read; the answer then carries none */
	uint16_t edns_size;    /* what the client says it takes; 0 without EDNS */
	bool edns;
	bool dnssec_ok;
	/* host is set: labels of letters, digits, '-', '_'; rules_host_ok says whether rules
	 * could name it */
	bool hostname;
	char host[RPC_HOST_MAX]; /* lower case, no final dot; "" when it is not a hostname */
	uint8_t question[DNSMSG_QUESTION_MAX];
};

/* Reads a query. -EBADMSG: not answerable at all (shorter than a header, or itself an answer):
 * drop it. 0: *ret is filled, and *ret_rcode says whether to go on (DNSMSG_NOERROR) or what to
 * answer at once with dnsmsg_empty(): FORMERR, NOTIMP (opcode), REFUSED (class), BADVERS. */
int dnsmsg_parse(const void *msg, size_t len, struct dnsmsg_query *ret,
		 enum dnsmsg_rcode *ret_rcode) must_check;

/* How long an answer to this query may be, at most DNSMSG_ANSWER_MAX. */
size_t dnsmsg_limit(const struct dnsmsg_query *q, bool tcp);

/* ---- answers ---- */
/* Each writes one message of at most `cap` bytes (dnsmsg_limit) and returns its length, which is
 * never 0 for a cap of DNSMSG_UDP_MIN or more. */

/* Header, question and OPT only: every rcode but NXDOMAIN and the empty NOERROR, which need an
 * SOA. */
size_t dnsmsg_empty(const struct dnsmsg_query *q, enum dnsmsg_rcode rcode, uint8_t *out,
		    size_t cap);

/* NODATA (DNSMSG_NOERROR) or DNSMSG_NXDOMAIN, with an SOA that lets nobody remember it for
 * longer than ttl. */
size_t dnsmsg_negative(const struct dnsmsg_query *q, enum dnsmsg_rcode rcode, uint32_t ttl,
		       uint8_t *out, size_t cap);

/* The addresses (v4-mapped) of the family that was asked for, as many as fit; none of them:
 * NODATA. */
size_t dnsmsg_addresses(const struct dnsmsg_query *q, const uint8_t (*addr)[16], size_t count,
			uint32_t ttl, uint8_t *out, size_t cap);

/* ---- TCP: two bytes of length before each message ---- */

/* 1: a whole query of *ret_len bytes stands at p + 2. 0: more is needed. -EMSGSIZE: longer than
 * DNSMSG_QUERY_MAX, or empty: close the connection. */
int dnsmsg_frame(const void *p, size_t len, size_t *ret_len) must_check;

#endif
