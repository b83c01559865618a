/* A body however cut, and with however little room, gives the same payload and the same end; through a sieve, what
 * redact_scan() makes of the whole. First byte: framings, sieve, coding; second: the pieces; third: the room. */
#include "body.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VALUE "sk-live-012345"
#define ROOM  (1u << 20)

struct outcome {
	int rc;
	enum body_phase phase;
	size_t len, rest;
	uint8_t p[ROOM];
};

static const struct redact *looked_for(void)
{
	static const struct redact_value v = {(const uint8_t *)VALUE, sizeof(VALUE) - 1};
	static struct redact *r;

	if (!r)
		r = redact_make(malloc(redact_size(&v, 1)), &v, 1);
	return r;
}

/* The payload without its frames, in place. */
static void unframe(struct outcome *o)
{
	struct http1_chunked c = {0};
	struct http1_slice d = {0};
	size_t at = 0, n = 0, used;

	while (at < o->len && http1_chunked(&c, (const char *)o->p + at, o->len - at, &used, &d) == HTTP1_DATA) {
		memmove(o->p + n, d.p, d.len);
		n += d.len;
		at += used;
	}
	assert(c.bad == HTTP1_BAD_NONE);
	o->len = n;
}

static void run(const uint8_t *data, size_t size, uint8_t how, bool messages, size_t piece, size_t full, struct outcome *o)
{
	static struct http1_head scratch;
	enum http1_framing from = (enum http1_framing)(HTTP1_FRAMING_LENGTH + how % 3),
			   to = (enum http1_framing)(HTTP1_FRAMING_LENGTH + how / 4 % 3);
	struct recode_list list = {1, {(enum recode_coding)(RECODE_GZIP + how / 64 + (messages ? RECODE_MESSAGES : 0))}};
	struct recode *recode = NULL;
	struct sieve v = {0};
	struct buf in, out;
	struct body b;
	size_t at = 0, n;
	bool moved = true;

	if (how & 16 && to == HTTP1_FRAMING_LENGTH)
		to = HTTP1_FRAMING_CHUNKED; /* as relay.c: nobody knows how long it will be */
	o->rc = 0;
	o->len = 0;
	buf_init(&in, ROOM);
	buf_init(&out, 2 * ROOM);
	body_init(&b, from, size / 2, to);
	if (how & 32) {
		if (how & 16)
			assert(recode_new(&list, &recode) == 0);
		sieve_init(&v, looked_for(), recode);
		b.sieve = &v;
	}
	while (o->rc == 0 && b.phase != BODY_DONE && (at < size || moved)) {
		n = size - at < piece ? size - at : piece;
		assert(buf_add(&in, data + at, n) == 0);
		at += n;
		moved = false;
		do {
			size_t before = buf_len(&in);

			o->rc = body_move(&b, &in, &out, full, &scratch);
			n = buf_len(&out);
			moved |= n > 0 || before != buf_len(&in);
			assert(o->len + n <= ROOM);
			memcpy(o->p + o->len, n ? buf_bytes(&out) : data, n);
			o->len += n;
			buf_take(&out, n);
		} while (o->rc == 0 && n > 0 && b.phase != BODY_DONE);
	}
	if (o->rc == 0 && at == size && buf_len(&in) == 0 && b.phase != BODY_DONE && from == HTTP1_FRAMING_CLOSE) {
		o->rc = body_end(&b, &out);
		n = buf_len(&out);
		memcpy(o->p + o->len, n ? buf_bytes(&out) : data, n);
		o->len += n;
	}
	o->phase = b.phase;
	o->rest = size - at + buf_len(&in);
	if (to == HTTP1_FRAMING_CHUNKED)
		unframe(o);
	sieve_done(&v);
	buf_done(&in);
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome a, b;

	if (size < 3 || size > 4096)
		return 0;
	run(data + 3, size - 3, data[0], data[1] & 128, size, ROOM, &a);
	run(data + 3, size - 3, data[0], data[1] & 128, 1 + data[1] % 64 + size / 64, 1 + 64u * data[2], &b);
	assert(a.rc == b.rc && a.phase == b.phase);
	/* What is broken may have gone further in one way than in the other, but nothing else may have gone. */
	assert(memcmp(a.p, b.p, a.len < b.len ? a.len : b.len) == 0);
	assert(a.rc < 0 || (a.len == b.len && a.rest == b.rest));
	assert(!(data[0] & 32) || !memmem(a.p, a.len, VALUE, sizeof(VALUE) - 1));
	return 0;
}
