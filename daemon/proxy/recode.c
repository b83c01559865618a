/* recode.c: see recode.h. The last coding put on is the first layer here. Each layer reads from what the one before
 * it left in `between`; the last writes to the caller. A call runs every layer once, the last one first, so that
 * room is made before more is pressed in.
 */
#include "recode.h"

#include "messages.h"

#include <assert.h>
#include <brotli/decode.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#define ZSTD_WINDOW_LOG 23

struct layer {
	enum recode_coding coding;
	bool started; /* has had bytes */
	bool set_up;  /* z: inflateInit2() was called */
	bool whole;   /* stands at the end of a stream, frame or member */
	z_stream z;
	BrotliDecoderState *br;
	ZSTD_DCtx *zstd;
	struct messages *messages;
	uint8_t peeked; /* the first byte of a deflate body */
	/* What it made for the next layer; not used by the last. */
	uint8_t *between;
	size_t at, end;
};

struct recode {
	uint32_t count;
	uint64_t in, out;
	struct layer layers[RECODE_LAYERS + 1];
};

/* ---- names ---- */

static int coding_of(const char *p, size_t len)
{
	static const struct {
		const char *name;
		enum recode_coding is;
	} names[] = {{"gzip", RECODE_GZIP}, {"x-gzip", RECODE_GZIP}, {"deflate", RECODE_DEFLATE},
		     {"br", RECODE_BR},     {"zstd", RECODE_ZSTD},   {"identity", 0}};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i].name) == len && strncasecmp(names[i].name, p, len) == 0)
			return (int)names[i].is;
	return -ENOTSUP;
}

int recode_list_add(struct recode_list *l, const char *p, size_t len)
{
	const uint32_t most = RECODE_LAYERS + (l->of[0] >= RECODE_MESSAGES);
	const char *end = p + len, *comma;

	for (; p < end; p = comma + 1) {
		const char *from = p, *to;
		int got;

		comma = memchr(p, ',', (size_t)(end - p));
		comma = comma ? comma : end;
		for (to = comma; from < to && (*from == ' ' || *from == '\t'); from++)
			;
		for (; to > from && (to[-1] == ' ' || to[-1] == '\t'); to--)
			;
		got = from == to ? 0 : coding_of(from, (size_t)(to - from));
		if (got < 0 || (got > 0 && l->count == most))
			return -ENOTSUP;
		if (got > 0)
			l->of[l->count++] = (enum recode_coding)got;
	}
	return 0;
}

int recode_list_messages(struct recode_list *l, const char *p, size_t len)
{
	int got = coding_of(p, len);

	if (got <= 0)
		return got;
	assert(l->count == 0);
	l->of[l->count++] = (enum recode_coding)(RECODE_MESSAGES + got);
	return 0;
}

/* ---- beginning and end ---- */

static void layer_done(struct layer *l)
{
	if (l->set_up)
		(void)inflateEnd(&l->z);
	if (l->br)
		BrotliDecoderDestroyInstance(l->br);
	(void)ZSTD_freeDCtx(l->zstd);
	messages_free(l->messages);
	free(l->between);
}

struct recode *recode_free(struct recode *r)
{
	uint32_t i;

	for (i = 0; r && i < r->count; i++)
		layer_done(&r->layers[i]);
	free(r);
	return NULL;
}

static int layer_init(struct layer *l)
{
	if (l->coding >= RECODE_MESSAGES)
		return messages_new((enum recode_coding)(l->coding - RECODE_MESSAGES), &l->messages);
	switch (l->coding) {
	case RECODE_GZIP:
		l->set_up = inflateInit2(&l->z, 15 + 16) == Z_OK;
		return l->set_up ? 0 : -ENOMEM;
	case RECODE_DEFLATE:
		return 0; /* of which kind it is shows in the first bytes */
	case RECODE_BR:
		l->br = BrotliDecoderCreateInstance(NULL, NULL, NULL);
		return l->br ? 0 : -ENOMEM;
	case RECODE_ZSTD:
		l->zstd = ZSTD_createDCtx();
		if (!l->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(l->zstd, ZSTD_d_windowLogMax,
								    ZSTD_WINDOW_LOG)))
			return -ENOMEM;
		return 0;
	case RECODE_MESSAGES:
		break;
	}
	return -EINVAL;
}

int recode_new(const struct recode_list *list, struct recode **ret)
{
	auto_(recode) struct recode *r = calloc(1, sizeof(*r));
	uint32_t i;
	int rc = r ? 0 : -ENOMEM;

	assert(list->count >= 1 && list->count <= RECODE_LAYERS + 1);
	for (i = 0; rc == 0 && i < list->count; i++) {
		struct layer *l = &r->layers[i];

		r->count++;
		l->coding = list->of[list->count - 1 - i];
		rc = layer_init(l);
		if (rc == 0 && i + 1 < list->count && !(l->between = malloc(RECODE_BETWEEN)))
			rc = -ENOMEM;
	}
	if (rc == 0)
		*ret = take(r);
	return rc;
}

/* ---- the decoders: some bytes in, some out; sets `whole` ---- */

static int some_zlib(struct layer *l, const uint8_t *in, size_t *len, uint8_t *out, size_t *cap)
{
	int rc;

	if (l->whole) {
		/* Another member of a gzip file; nothing follows a deflate stream. */
		if (*len == 0) {
			*cap = 0;
			return 0;
		}
		if (l->coding != RECODE_GZIP || inflateReset(&l->z) != Z_OK)
			return -EBADMSG;
		l->whole = false;
	}
	l->z.next_in = (Bytef *)in;
	l->z.avail_in = (uInt)*len;
	l->z.next_out = out;
	l->z.avail_out = (uInt)*cap;
	rc = inflate(&l->z, Z_NO_FLUSH);
	if (rc != Z_OK && rc != Z_BUF_ERROR && rc != Z_STREAM_END)
		return rc == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
	l->whole = rc == Z_STREAM_END;
	*len -= l->z.avail_in;
	*cap -= l->z.avail_out;
	return 0;
}

/* "deflate" is a zlib stream; some senders leave its two bytes of head away, and everybody puts up with it. */
static int some_deflate(struct layer *l, const uint8_t *in, size_t *len, uint8_t *out, size_t *cap)
{
	size_t one = 1, zero = 0, room = *cap;
	uint8_t none;
	bool zlib;
	int rc;

	if (l->set_up)
		return some_zlib(l, in, len, out, cap);
	*cap = 0;
	if (*len == 0)
		return 0;
	if (!l->started) {
		l->peeked = in[0];
		*len = 1;
		return 0;
	}
	zlib = (l->peeked & 15) == 8 && l->peeked >> 4 <= 7 && (l->peeked * 256 + in[0]) % 31 == 0;
	if (inflateInit2(&l->z, zlib ? 15 : -15) != Z_OK)
		return -ENOMEM;
	l->set_up = true;
	rc = some_zlib(l, &l->peeked, &one, &none, &zero);
	if (rc < 0 || one != 1)
		return rc < 0 ? rc : -EBADMSG;
	*cap = room;
	return some_zlib(l, in, len, out, cap);
}

static int some_br(struct layer *l, const uint8_t *in, size_t *len, uint8_t *out, size_t *cap)
{
	const uint8_t *from = in;
	uint8_t *to = out;
	size_t in_left = *len, out_left = *cap;

	if (l->whole && *len > 0)
		return -EBADMSG;
	switch (BrotliDecoderDecompressStream(l->br, &in_left, &from, &out_left, &to, NULL)) {
	case BROTLI_DECODER_RESULT_ERROR:
		return -EBADMSG;
	case BROTLI_DECODER_RESULT_SUCCESS:
		l->whole = true;
		break;
	default:
		break;
	}
	*len -= in_left;
	*cap -= out_left;
	return 0;
}

static int some_zstd(struct layer *l, const uint8_t *in, size_t *len, uint8_t *out, size_t *cap)
{
	ZSTD_inBuffer from = {in, *len, 0};
	ZSTD_outBuffer to = {out, *cap, 0};
	size_t rc;

	/* At the end of a frame it would ask for the next one's head, and no longer be whole. */
	if (l->whole && *len == 0) {
		*cap = 0;
		return 0;
	}
	rc = ZSTD_decompressStream(l->zstd, &to, &from);
	if (ZSTD_isError(rc))
		return -EBADMSG;
	l->whole = rc == 0;
	*len = from.pos;
	*cap = to.pos;
	return 0;
}

static int some_messages(struct layer *l, const uint8_t *in, size_t *len, uint8_t *out, size_t *cap)
{
	int rc = messages_some(l->messages, in, len, out, cap);

	l->whole = rc == 0 && messages_whole(l->messages);
	return rc;
}

static int layer_some(struct layer *l, const uint8_t *in, size_t *len, uint8_t *out, size_t *cap)
{
	bool any = *len > 0;
	int rc;

	if (!any && !l->started) {
		*cap = 0;
		return 0;
	}
	switch (l->coding < RECODE_MESSAGES ? l->coding : RECODE_MESSAGES) {
	case RECODE_GZIP:
		rc = some_zlib(l, in, len, out, cap);
		break;
	case RECODE_DEFLATE:
		rc = some_deflate(l, in, len, out, cap);
		break;
	case RECODE_BR:
		rc = some_br(l, in, len, out, cap);
		break;
	case RECODE_ZSTD:
		rc = some_zstd(l, in, len, out, cap);
		break;
	case RECODE_MESSAGES:
		rc = some_messages(l, in, len, out, cap);
		break;
	default:
		rc = -EINVAL;
	}
	l->started |= any;
	return rc;
}

/* ---- the chain ---- */

/* One turn of a layer. It has `len` bytes to read and what room there is; both become what was done. */
static int layer_turn(struct recode *r, uint32_t i, const uint8_t *in, size_t *len, uint8_t *out,
		      size_t *cap)
{
	struct layer *l = &r->layers[i];

	if (i + 1 < r->count) {
		if (l->at < l->end) { /* the next layer has not taken all of it */
			*len = *cap = 0;
			return 0;
		}
		l->at = l->end = 0;
		out = l->between;
		*cap = RECODE_BETWEEN;
	}
	return layer_some(l, in, len, out, cap);
}

int recode_some(struct recode *r, const uint8_t *in, size_t len, size_t *used, uint8_t *out,
		size_t cap, size_t *made)
{
	bool moved = true;
	uint32_t i;

	*used = *made = 0;
	/* Until something comes out, or nothing moves any more. */
	while (moved && *made == 0 && cap > 0) {
		moved = false;
		for (i = r->count; i-- > 0;) {
			struct layer *below = i > 0 ? &r->layers[i - 1] : NULL;
			const uint8_t *from = below ? below->between + below->at : in + *used;
			size_t n = below ? below->end - below->at : len - *used;
			size_t m = cap;
			int rc = layer_turn(r, i, from, &n, out, &m);

			if (rc < 0)
				return rc;
			moved |= n > 0 || m > 0;
			if (below)
				below->at += n;
			else
				*used += n;
			if (i + 1 < r->count)
				r->layers[i].end = m > 0 ? m : r->layers[i].end;
			else
				*made = m;
		}
	}
	r->in += *used;
	r->out += *made;
	if (r->out > RECODE_FREE && r->out / RECODE_RATIO > r->in)
		return -EFBIG;
	return 0;
}

bool recode_complete(const struct recode *r)
{
	uint32_t i;

	if (!r->layers[0].started)
		return true;
	for (i = 0; i < r->count; i++)
		if (!r->layers[i].whole || r->layers[i].at < r->layers[i].end)
			return false;
	return true;
}
