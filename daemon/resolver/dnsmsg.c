/* dnsmsg.c: see dnsmsg.h.
 *
 * Reading goes through struct rd and is checked at the end. The header alone decides whether there
 * is anybody to answer; after that every defect has an rcode, so that a client is told at once
 * instead of running into its timeout. The question is kept as bytes for the echo and, when all its
 * labels are of letters, digits, '-' and '_', as text; a name with anything else cannot stand in a
 * rule, so its text is not needed and never made.
 *
 * Writing goes through struct wr. Every record of ours names the question by a pointer to offset
 * 12, or the root by a zero byte; there is no other compression.
 */
#include "dnsmsg.h"

#include "rd.h"
#include "wr.h"

#include <assert.h>

#define DNSMSG_HEADER  12
#define DNSMSG_OPT_LEN 11 /* of our OPT record: root, type, class, ttl, no data */

#define DNSMSG_QR     0x8000u
#define DNSMSG_OPCODE 0x7800u
#define DNSMSG_RD     0x0100u
#define DNSMSG_RA     0x0080u
#define DNSMSG_CD     0x0010u

#define DNSMSG_CLASS_IN 1
#define DNSMSG_TYPE_SOA 6
#define DNSMSG_TYPE_OPT 41

#define DNSMSG_LABEL_MAX   63
#define DNSMSG_TO_QUESTION 0xc00c /* pointer to the first byte after the header */

static const uint8_t dnsmsg_v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* ---- reading ---- */

static bool dnsmsg_label_ok(const uint8_t *p, size_t n)
{
	size_t i;

	if (n == 0 || p[0] == '-' || p[n - 1] == '-')
		return false;
	for (i = 0; i < n; i++)
		if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
		      (p[i] >= '0' && p[i] <= '9') || p[i] == '-' || p[i] == '_'))
			return false;
	return true;
}

/* Reads a name without compression. Its text goes to host as long as it is a hostname's; answers
 * whether all of it was. */
static bool dnsmsg_name(struct rd *r, char host[RPC_HOST_MAX])
{
	size_t start = r->at, at = 0, i;
	bool ok = true;

	for (;;) {
		uint8_t n = rd_u8(r);
		const uint8_t *label;

		if (r->bad || n == 0)
			break;
		label = n > DNSMSG_LABEL_MAX ? NULL : rd_take(r, n);
		/* +1: the final zero byte counts too. */
		if (!label || r->at - start + 1 > DNSMSG_NAME_MAX) {
			r->bad = true;
			break;
		}
		ok = ok && dnsmsg_label_ok(label, n) && at + (at != 0) + n < RPC_HOST_MAX;
		if (!ok)
			continue;
		if (at)
			host[at++] = '.';
		for (i = 0; i < n; i++)
			host[at++] = (char)(label[i] >= 'A' && label[i] <= 'Z' ? label[i] | 0x20
									       : label[i]);
	}
	ok = ok && at && !r->bad;
	host[ok ? at : 0] = '\0';
	return ok;
}

/* The question, kept in q only when all of it could be read. */
static void dnsmsg_question(struct rd *r, struct dnsmsg_query *q, uint16_t *ret_class)
{
	size_t start = r->at;

	q->hostname = dnsmsg_name(r, q->host);
	q->type = rd_u16(r);
	*ret_class = rd_u16(r);
	if (r->bad) {
		q->hostname = false;
		q->host[0] = '\0';
		return;
	}
	q->question_len = (uint16_t)(r->at - start);
	memcpy(q->question, r->p + start, q->question_len);
}

/* The additional section: one OPT record or nothing. RFC 6891 §6.1.2. */
static void dnsmsg_opt(struct rd *r, struct dnsmsg_query *q, uint8_t *ret_version)
{
	uint8_t root = rd_u8(r);
	uint16_t type = rd_u16(r), size = rd_u16(r);
	uint32_t ttl = rd_u32(r);

	(void)rd_take(r, rd_u16(r));
	if (r->bad || root != 0 || type != DNSMSG_TYPE_OPT) {
		r->bad = true;
		return;
	}
	q->edns = true;
	q->edns_size = size;
	q->dnssec_ok = (ttl & 0x8000u) != 0;
	*ret_version = (uint8_t)(ttl >> 16);
}

static enum dnsmsg_rcode dnsmsg_body(struct rd *r, struct dnsmsg_query *q)
{
	uint16_t qd = rd_u16(r), an = rd_u16(r), ns = rd_u16(r), ar = rd_u16(r), class = 0;
	uint8_t version = 0;

	if (q->flags & DNSMSG_OPCODE)
		return DNSMSG_NOTIMP;
	if (qd != 1 || an || ns || ar > 1)
		return DNSMSG_FORMERR;
	dnsmsg_question(r, q, &class);
	if (ar)
		dnsmsg_opt(r, q, &version);
	if (r->bad || r->at != r->len)
		return DNSMSG_FORMERR;
	if (version != 0)
		return DNSMSG_BADVERS;
	return class == DNSMSG_CLASS_IN ? DNSMSG_NOERROR : DNSMSG_REFUSED;
}

int dnsmsg_parse(const void *msg, size_t len, struct dnsmsg_query *ret,
		 enum dnsmsg_rcode *ret_rcode)
{
	struct rd r = rd_of(msg, len);
	struct dnsmsg_query q = {0};

	q.id = rd_u16(&r);
	q.flags = rd_u16(&r);
	if (len < DNSMSG_HEADER || (q.flags & DNSMSG_QR))
		return -EBADMSG;
	*ret_rcode = len > DNSMSG_QUERY_MAX ? DNSMSG_FORMERR : dnsmsg_body(&r, &q);
	*ret = q;
	return 0;
}

size_t dnsmsg_limit(const struct dnsmsg_query *q, bool tcp)
{
	if (tcp || q->edns_size > DNSMSG_ANSWER_MAX)
		return DNSMSG_ANSWER_MAX;
	return q->edns_size > DNSMSG_UDP_MIN ? q->edns_size : DNSMSG_UDP_MIN;
}

/* ---- writing ---- */

static void dnsmsg_head(struct wr *w, const struct dnsmsg_query *q, enum dnsmsg_rcode rcode,
			uint16_t answers, uint16_t authorities)
{
	uint16_t keep = q->flags & (DNSMSG_OPCODE | DNSMSG_RD | DNSMSG_CD);

	wr_u16(w, q->id);
	wr_u16(w, (uint16_t)(DNSMSG_QR | DNSMSG_RA | keep | (rcode & 0xf)));
	wr_u16(w, q->question_len ? 1 : 0);
	wr_u16(w, answers);
	wr_u16(w, authorities);
	wr_u16(w, q->edns ? 1 : 0);
	wr_bytes(w, q->question, q->question_len);
}

static size_t dnsmsg_end(struct wr *w, const struct dnsmsg_query *q, enum dnsmsg_rcode rcode)
{
	if (q->edns) {
		wr_u8(w, 0);
		wr_u16(w, DNSMSG_TYPE_OPT);
		wr_u16(w, DNSMSG_ANSWER_MAX);
		wr_u8(w, (uint8_t)(rcode >> 4));
		wr_u8(w, 0);
		wr_u16(w, q->dnssec_ok ? 0x8000 : 0);
		wr_u16(w, 0);
	}
	return w->full ? 0 : w->len;
}

size_t dnsmsg_empty(const struct dnsmsg_query *q, enum dnsmsg_rcode rcode, uint8_t *out, size_t cap)
{
	struct wr w = wr_of(out, cap);

	dnsmsg_head(&w, q, rcode, 0, 0);
	return dnsmsg_end(&w, q, rcode);
}

size_t dnsmsg_negative(const struct dnsmsg_query *q, enum dnsmsg_rcode rcode, uint32_t ttl,
		       uint8_t *out, size_t cap)
{
	struct wr w = wr_of(out, cap);

	assert(rcode == DNSMSG_NOERROR || rcode == DNSMSG_NXDOMAIN);
	dnsmsg_head(&w, q, rcode, 0, 1);
	wr_u8(&w, 0); /* the root's: it encloses every name, and tells nothing of any */
	wr_u16(&w, DNSMSG_TYPE_SOA);
	wr_u16(&w, DNSMSG_CLASS_IN);
	wr_u32(&w, ttl);
	wr_u16(&w, 22);
	wr_u16(&w, 0);    /* mname and rname: root, root */
	wr_u32(&w, 1);    /* serial */
	wr_u32(&w, 3600); /* refresh, retry, expire: for secondaries, of which there are none */
	wr_u32(&w, 600);
	wr_u32(&w, 86400);
	wr_u32(&w, ttl); /* minimum: RFC 2308 §5 takes the lesser of both */
	return dnsmsg_end(&w, q, rcode);
}

static bool dnsmsg_is_v4(const uint8_t addr[16])
{
	return memcmp(addr, dnsmsg_v4_prefix, sizeof(dnsmsg_v4_prefix)) == 0;
}

/* How many of them are of the family asked for and fit. */
static uint16_t dnsmsg_fitting(const struct dnsmsg_query *q, const uint8_t (*addr)[16],
			       size_t count, size_t cap)
{
	size_t used = DNSMSG_HEADER + q->question_len + (q->edns ? DNSMSG_OPT_LEN : 0);
	size_t record = q->type == DNSMSG_A ? 16 : 28, n = 0, i;

	for (i = 0; i < count && used + (n + 1) * record <= cap; i++)
		n += dnsmsg_is_v4(addr[i]) == (q->type == DNSMSG_A);
	return (uint16_t)n;
}

size_t dnsmsg_addresses(const struct dnsmsg_query *q, const uint8_t (*addr)[16], size_t count,
			uint32_t ttl, uint8_t *out, size_t cap)
{
	bool v4 = q->type == DNSMSG_A;
	uint16_t n = v4 || q->type == DNSMSG_AAAA ? dnsmsg_fitting(q, addr, count, cap) : 0;
	struct wr w = wr_of(out, cap);
	size_t i;

	if (n == 0)
		return dnsmsg_negative(q, DNSMSG_NOERROR, ttl, out, cap);
	dnsmsg_head(&w, q, DNSMSG_NOERROR, n, 0);
	for (i = 0; n > 0; i++) {
		if (dnsmsg_is_v4(addr[i]) != v4)
			continue;
		wr_u16(&w, DNSMSG_TO_QUESTION);
		wr_u16(&w, q->type);
		wr_u16(&w, DNSMSG_CLASS_IN);
		wr_u32(&w, ttl);
		wr_u16(&w, v4 ? 4 : 16);
		wr_bytes(&w, v4 ? addr[i] + 12 : addr[i], v4 ? 4 : 16);
		n--;
	}
	return dnsmsg_end(&w, q, DNSMSG_NOERROR);
}

int dnsmsg_frame(const void *p, size_t len, size_t *ret_len)
{
	struct rd r = rd_of(p, len);
	size_t n = rd_u16(&r);

	if (r.bad)
		return 0;
	if (n == 0 || n > DNSMSG_QUERY_MAX)
		return -EMSGSIZE;
	if (rd_left(&r) < n)
		return 0;
	*ret_len = n;
	return 1;
}
