/* An agent's frames: whatever they are, each stream's text is at most one request, and what follows its head is its body.
 * First byte: how the frames are cut. */
#include "h2.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct user {
	struct user *next;
	struct side side;
	struct buf text;
	bool answered;
};

static struct {
	struct h2 *h;
	struct user *users;
	struct http1_head scratch, head;
} F;

/* Is it one request, or the beginning of one? */
static void check(struct user *u)
{
	struct http1_scan scan = {0}, trailer = {0};
	struct http1_meaning m;
	struct http1_chunked chunk = {0};
	struct http1_slice d;
	const char *p = (const char *)buf_bytes(&u->text);
	size_t len = buf_len(&u->text), used;
	enum http1_result got = http1_request(&scan, p, len, &F.head);

	assert(got != HTTP1_MORE || len == 0);
	if (got != HTTP1_DONE || http1_request_meaning(&F.head, &m) < 0 || m.websocket || http1_eq(F.head.method, "CONNECT"))
		return;
	p += F.head.raw.len;
	len -= F.head.raw.len;
	if (m.framing != HTTP1_FRAMING_CHUNKED) {
		assert(len <= m.length);
		return;
	}
	while ((got = http1_chunked(&chunk, p, len, &used, &d)) == HTTP1_DATA) {
		p += used;
		len -= used;
	}
	assert(got != HTTP1_BAD);
	if (got != HTTP1_DONE)
		return;
	p += used;
	len -= used;
	got = http1_trailers(&trailer, p, len, &F.head);
	assert(got != HTTP1_DONE || F.head.raw.len == len);
}

static void on_wake(void *user)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n";
	struct user *u = user;
	enum tls_io io = TLS_OK;
	size_t n;

	while (io == TLS_OK)
		io = side_read(&u->side, &u->text, BUF_UNIT, &n);
	check(u);
	if (!u->answered)
		assert(buf_add(&u->side.out, answer, sizeof(answer) - 1) == 0);
	u->answered = true;
	if (side_write(&u->side, &n) == TLS_OK && io == TLS_END)
		side_done(&u->side);
}

static void on_gone(void *user)
{
	side_done(&((struct user *)user)->side);
}

static const struct h2_user fns = {on_wake, on_gone};

static int on_opened(void *ctx, struct h2_stream *s)
{
	struct user *u = calloc(1, sizeof(*u));

	(void)ctx;
	assert(u);
	u->next = F.users;
	F.users = u;
	buf_init(&u->text, 16u << 20);
	side_init_via(&u->side, &h2_via, s, 1 << 20, 1 << 20);
	h2_stream_use(s, &fns, u, &u->side.out);
	return 0;
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static const struct h2_owner owner = {on_opened, nothing, nothing};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct user *u;
	struct buf out;
	size_t step;
	int rc;

	if (size < 2)
		return 0;
	step = data[0] ? data[0] : size;
	data++;
	size--;
	F.users = NULL;
	buf_init(&out, 32u << 20);
	assert(h2_new(H2_SERVER, &owner, NULL, &F.scratch, true, &F.h) == 0);
	rc = h2_feed(F.h, (const uint8_t *)NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN, 1000);
	for (; rc == 0 && size > 0; data += step, size -= step) {
		if (step > size)
			step = size;
		rc = h2_feed(F.h, data, step, 1000);
		h2_wake(F.h);
		if (h2_drain(F.h, &out, 16u << 20) < 0)
			rc = -1;
		h2_wake(F.h);
		buf_done(&out);
	}
	F.h = h2_free(F.h);
	while ((u = F.users)) {
		F.users = u->next;
		side_done(&u->side);
		buf_done(&u->text);
		free(u);
	}
	return 0;
}
