/* messages.c: see messages.h. `text` is what waits to go out: the head of a message that then goes by, or a decoded message
 * with its head.
 */
#include "messages.h"

#include "rd.h"
#include "wr.h"

#include <string.h>

#define MESSAGES_HEAD  5
#define MESSAGES_CODED 1
#define MESSAGES_FIRST 4096

struct messages {
	enum recode_coding coding;
	uint8_t head[MESSAGES_HEAD];
	size_t head_len;
	uint32_t left;        /* content still to come in */
	struct recode *inner; /* of the coded message that is coming in */
	uint8_t *text;
	size_t at, len, cap;
	bool ready; /* text[at..len) may go */
};

int messages_new(enum recode_coding coding, struct messages **ret)
{
	struct messages *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->coding = coding;
	*ret = m;
	return 0;
}

static void messages_text_done(struct messages *m)
{
	if (m->text)
		explicit_bzero(m->text, m->cap);
	free(m->text);
	m->text = NULL;
	m->at = m->len = m->cap = 0;
	m->ready = false;
}

struct messages *messages_free(struct messages *m)
{
	if (!m)
		return NULL;
	m->inner = recode_free(m->inner);
	messages_text_done(m);
	free(m);
	return NULL;
}

bool messages_whole(const struct messages *m)
{
	return m->head_len == 0 && m->left == 0 && !m->inner && !m->ready;
}

/* Room for more text; what was there is not left behind. */
static int messages_grow(struct messages *m)
{
	size_t cap = m->cap ? 2 * m->cap : MESSAGES_FIRST;
	uint8_t *p;

	if (m->cap >= MESSAGES_MAX + MESSAGES_HEAD)
		return -EFBIG;
	if (cap > MESSAGES_MAX + MESSAGES_HEAD)
		cap = MESSAGES_MAX + MESSAGES_HEAD;
	p = malloc(cap);
	if (!p)
		return -ENOMEM;
	if (m->text) {
		memcpy(p, m->text, m->len);
		explicit_bzero(m->text, m->cap);
		free(m->text);
	}
	m->text = p;
	m->cap = cap;
	return 0;
}

/* The head is whole. */
static int messages_begin(struct messages *m)
{
	const struct recode_list one = {.count = 1, .of = {m->coding}};
	struct rd r = rd_of(m->head + 1, MESSAGES_HEAD - 1);
	bool coded = m->head[0] & MESSAGES_CODED;
	int rc = messages_grow(m);

	if (rc < 0)
		return rc;
	m->head[0] &= (uint8_t)~MESSAGES_CODED;
	m->left = rd_u32(&r);
	m->head_len = 0;
	memcpy(m->text, m->head, MESSAGES_HEAD);
	m->len = MESSAGES_HEAD;
	m->ready = !coded || m->left == 0; /* nothing is nothing, coded or not */
	return m->ready ? 0 : recode_new(&one, &m->inner);
}

/* Some of a coded message; at its end the text is ready. */
static int messages_decode(struct messages *m, const uint8_t *in, size_t *len)
{
	size_t n = *len < m->left ? *len : m->left, used, made = 0;
	int rc = m->len == m->cap ? messages_grow(m) : 0;
	struct wr w;

	*len = 0;
	if (rc == 0)
		rc = recode_some(m->inner, in, n, &used, m->text + m->len, m->cap - m->len, &made);
	if (rc < 0)
		return rc;
	m->len += made;
	m->left -= (uint32_t)used;
	*len = used;
	if (used > 0 || made > 0 || m->left > 0)
		return n > 0 && used == 0 && made == 0 ? -EBADMSG : 0;
	if (!recode_complete(m->inner))
		return -EBADMSG;
	m->inner = recode_free(m->inner);
	w = wr_of(m->text + 1, MESSAGES_HEAD - 1);
	wr_u32(&w, (uint32_t)(m->len - MESSAGES_HEAD));
	m->ready = true;
	return 0;
}

static size_t messages_out(struct messages *m, uint8_t *out, size_t cap)
{
	size_t n = m->len - m->at < cap ? m->len - m->at : cap;

	memcpy(out, m->text + m->at, n);
	m->at += n;
	if (m->at == m->len)
		messages_text_done(m);
	return n;
}

static size_t messages_head(struct messages *m, const uint8_t *in, size_t len)
{
	size_t n = MESSAGES_HEAD - m->head_len < len ? MESSAGES_HEAD - m->head_len : len;

	memcpy(m->head + m->head_len, in, n);
	m->head_len += n;
	return n;
}

int messages_some(struct messages *m, const uint8_t *in, size_t *len, uint8_t *out, size_t *cap)
{
	size_t used = 0, made = 0, n;
	bool moved = true;
	int rc = 0;

	while (moved && rc == 0) {
		n = *len - used;
		moved = false;
		if (m->ready) {
			n = messages_out(m, out + made, *cap - made);
			made += n;
			moved = n > 0;
		} else if (m->inner) {
			size_t was = m->len;

			rc = messages_decode(m, in + used, &n);
			used += n;
			moved = n > 0 || m->len != was || m->ready;
		} else if (m->left > 0) {
			n = n < m->left ? n : m->left;
			n = n < *cap - made ? n : *cap - made;
			memcpy(out + made, in + used, n);
			m->left -= (uint32_t)n;
			used += n;
			made += n;
			moved = n > 0;
		} else if (n > 0) {
			used += messages_head(m, in + used, n);
			moved = true;
			if (m->head_len == MESSAGES_HEAD)
				rc = messages_begin(m);
		}
	}
	*len = used;
	*cap = made;
	return rc;
}
