/* hello.c: how a ClientHello is read (RFC 8446 4.1.2, RFC 6066 3, RFC 7301).
 *
 * The records' headers are walked first: nothing is looked at before the handshake message is whole. A
 * message is then put together from its records on the stack. Everything goes through struct rd, whose `bad` is asked once per structure; each structure
 * must be used up exactly.
 */
#include "hello.h"
#include "rd.h"

#include <errno.h>

#define RECORD_HANDSHAKE       22
#define HANDSHAKE_CLIENT_HELLO 1
#define EXT_SERVER_NAME        0
#define EXT_ALPN               16
#define EXT_SUPPORTED_VERSIONS 43
#define EXT_ECH                0xfe0d

/* ---- what the first bytes are ---- */

#define HELLO_METHOD_MAX                                                                           \
	(HELLO_KIND_BYTES - 1) /* with a blank behind it, and one byte more, the answer is known */

static enum hello_kind kind_http(const uint8_t *p, size_t len)
{
	size_t n = 0;

	/* Registered methods are upper case, some with '-' (RFC 3253). Narrower than the parser's token, so
	 * that "SSH-2.0-…" and the like are not taken for a request. */
	while (n < len && n < HELLO_METHOD_MAX && ((p[n] >= 'A' && p[n] <= 'Z') || p[n] == '-'))
		n++;
	if (n == len)
		return n < HELLO_METHOD_MAX ? HELLO_KIND_MORE : HELLO_KIND_NEITHER;
	if (n == 0 || n == HELLO_METHOD_MAX || p[n] != ' ')
		return HELLO_KIND_NEITHER;
	if (n + 1 == len)
		return HELLO_KIND_MORE;
	return p[n + 1] > ' ' && p[n + 1] < 0x7f ? HELLO_KIND_HTTP : HELLO_KIND_NEITHER;
}

enum hello_kind hello_kind(const uint8_t *p, size_t len)
{
	if (len == 0)
		return HELLO_KIND_MORE;
	if (p[0] != RECORD_HANDSHAKE)
		return kind_http(p, len);
	if (len < 2)
		return HELLO_KIND_MORE;
	return p[1] == 3 ? HELLO_KIND_TLS : HELLO_KIND_NEITHER;
}

/* ---- names ---- */

static bool label_ok(const char *p, size_t len)
{
	if (len < 1 || len > 63 || p[0] == '-' || p[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9') || p[i] == '-' ||
		      p[i] == '_'))
			return false;
	return true;
}

/* What inet_aton() reads as a number: then the whole name would be an address. */
static bool label_is_number(const char *p, size_t len)
{
	bool hex = len >= 2 && p[0] == '0' && p[1] == 'x';

	for (size_t i = hex ? 2 : 0; i < len; i++)
		if (!(p[i] >= '0' && p[i] <= '9') && !(hex && p[i] >= 'a' && p[i] <= 'f'))
			return false;
	return true;
}

bool hello_host_ok(const char *host, size_t len)
{
	size_t at = 0, last = 0;

	if (len < 1 || len >= RPC_HOST_MAX)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (i < len && host[i] != '.')
			continue;
		if (!label_ok(host + at, i - at))
			return false;
		last = at;
		at = i + 1;
	}
	return !label_is_number(host + last, len - last);
}

/* ---- extensions ---- */

/* One host_name, and nothing else. */
static bool read_sni(struct rd x, struct hello *h)
{
	struct rd list = rd_sub(&x, rd_u16(&x));
	uint8_t type = rd_u8(&list);
	size_t len = rd_u16(&list);
	const uint8_t *name = rd_take(&list, len);

	if (x.bad || x.at != x.len || list.bad || list.at != list.len || type != 0 ||
	    len >= RPC_HOST_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		h->sni[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 'a' - 'A'
								    : name[i]);
	h->sni[len] = '\0';
	return hello_host_ok(h->sni, len);
}

static bool read_alpn(struct rd x, struct hello *h)
{
	struct rd list = rd_sub(&x, rd_u16(&x));

	h->alpn = true;
	if (x.bad || x.at != x.len || list.len == 0)
		return false;
	while (rd_left(&list)) {
		size_t len = rd_u8(&list);
		const uint8_t *name = rd_take(&list, len);

		if (!name || len == 0)
			return false;
		h->h2 |= len == 2 && memcmp(name, "h2", 2) == 0;
		h->http11 |= len == 8 && memcmp(name, "http/1.1", 8) == 0;
	}
	return !list.bad;
}

static bool read_versions(struct rd x, struct hello *h)
{
	struct rd list = rd_sub(&x, rd_u8(&x));

	if (x.bad || x.at != x.len || list.len == 0 || list.len % 2)
		return false;
	while (rd_left(&list))
		h->tls13 |= rd_u16(&list) == 0x0304;
	return !list.bad;
}

static bool read_extension(uint16_t type, struct rd x, struct hello *h)
{
	switch (type) {
	case EXT_SERVER_NAME:
		return read_sni(x, h);
	case EXT_ALPN:
		return read_alpn(x, h);
	case EXT_SUPPORTED_VERSIONS:
		return read_versions(x, h);
	case EXT_ECH:
		h->ech = true;
		return true;
	default:
		return true;
	}
}

static bool read_extensions(struct rd *r, struct hello *h)
{
	uint16_t seen[HELLO_EXTENSIONS_MAX];
	size_t count = 0;

	while (rd_left(r)) {
		uint16_t type = rd_u16(r);
		struct rd x = rd_sub(r, rd_u16(r));

		if (x.bad || count == HELLO_EXTENSIONS_MAX)
			return false;
		for (size_t i = 0; i < count; i++)
			if (seen[i] == type)
				return false;
		seen[count++] = type;
		if (!read_extension(type, x, h))
			return false;
	}
	return !r->bad;
}

/* ---- the message ---- */

/* The null method must be offered (and is all that anybody offers). */
static bool has_null_compression(struct rd r)
{
	while (rd_left(&r))
		if (rd_u8(&r) == 0)
			return true;
	return false;
}

/* Body of the handshake message. */
static bool read_hello(struct rd r, struct hello *h)
{
	struct rd session, suites, compression, extensions;

	h->version = rd_u16(&r);
	rd_take(&r, 32);
	session = rd_sub(&r, rd_u8(&r));
	suites = rd_sub(&r, rd_u16(&r));
	compression = rd_sub(&r, rd_u8(&r));
	if (r.bad || h->version < 0x0301 || h->version > 0x0303 || session.len > 32)
		return false;
	if (suites.len == 0 || suites.len % 2 || !has_null_compression(compression))
		return false;
	if (!rd_left(&r))
		return true; /* TLS 1.2 and before may have no extensions */
	extensions = rd_sub(&r, rd_u16(&r));
	return !r.bad && r.at == r.len && read_extensions(&extensions, h);
}

/* Where the message lies in the records. */
struct span {
	size_t need; /* bytes of the message, with its header of 4; 0: not known yet */
	size_t have; /* of them seen */
	size_t end;  /* of the last record's bytes */
	uint32_t records;
};

/* One record's header. DONE: a whole record, its payload in *p; MORE: not all of it there yet. */
static enum hello_result next_record(struct rd *r, struct rd *payload)
{
	uint8_t type = rd_u8(r), major = rd_u8(r), minor = rd_u8(r);
	uint16_t len = rd_u16(r);

	if (r->bad)
		return HELLO_MORE;
	if (type != RECORD_HANDSHAKE || major != 3 || minor > 4 || len == 0 || r->at > HELLO_MAX ||
	    len > HELLO_MAX - r->at)
		return HELLO_BAD;
	*payload = rd_sub(r, len);
	return r->bad ? HELLO_MORE : HELLO_DONE;
}

/* Adds a record's payload to msg. */
static bool gather(struct span *s, struct rd payload, uint8_t *msg)
{
	if (++s->records > HELLO_RECORDS_MAX || payload.len > HELLO_MAX - s->have)
		return false;
	memcpy(msg + s->have, payload.p, payload.len);
	s->have += payload.len;
	if (msg[0] != HANDSHAKE_CLIENT_HELLO)
		return false;
	if (s->have >= 4)
		s->need = 4 + ((size_t)msg[1] << 16 | (size_t)msg[2] << 8 | msg[3]);
	/* Nothing may follow the hello in its last record. */
	return s->need == 0 || (s->need <= HELLO_MAX && s->have <= s->need);
}

static enum hello_result assemble(const uint8_t *p, size_t len, uint8_t *msg, struct span *s)
{
	struct rd r = rd_of(p, len);

	while (s->need == 0 || s->have < s->need) {
		struct rd payload;
		enum hello_result res = next_record(&r, &payload);

		if (res != HELLO_DONE)
			return res;
		if (!gather(s, payload, msg))
			return HELLO_BAD;
		s->end = r.at;
	}
	return HELLO_DONE;
}

enum hello_result hello_parse(const uint8_t *p, size_t len, struct hello *h)
{
	uint8_t msg[HELLO_MAX];
	struct span s = {0};
	struct hello t = {0};
	enum hello_result res;

	switch (hello_kind(p, len)) {
	case HELLO_KIND_TLS:
		break;
	case HELLO_KIND_MORE:
		return HELLO_MORE;
	default:
		return HELLO_NOT_TLS;
	}
	res = assemble(p, len, msg, &s);
	if (res == HELLO_MORE)
		return len < HELLO_MAX ? HELLO_MORE : HELLO_BAD;
	if (res != HELLO_DONE || !read_hello(rd_of(msg + 4, s.need - 4), &t))
		return HELLO_BAD;
	t.len = s.end;
	*h = t;
	return HELLO_DONE;
}
