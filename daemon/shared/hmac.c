/* hmac.c: see hmac.h. */
#include "hmac.h"

#include "kind.h"
#include "sign.h"
#include "sigv4.h"
#include "template.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define HMAC_KEY_MAX 4096

static void number(struct wr *w, uint64_t n)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	wr_str(w, text);
}

static int header(const struct hmac_request *q, const struct template_piece *p, struct wr *w)
{
	const struct http1_field *found = NULL;

	for (uint32_t i = 0; i < q->head->field_count; i++) {
		const struct http1_field *f = &q->head->fields[i];

		if (f->name.len != p->len || strncasecmp(f->name.p, p->p, p->len) != 0)
			continue;
		if (found)
			return -ENOENT;
		found = f;
	}
	if (!found)
		return -ENOENT;
	wr_bytes(w, found->value.p, found->value.len);
	return 0;
}

static int piece(const struct hmac_request *q, const struct template_piece *p, struct wr *w)
{
	uint8_t hash[SIGV4_HASH_LEN];
	char hex[SIGV4_HEX_LEN + 1];

	switch (p->word) {
	case TEMPLATE_TEXT:
		wr_bytes(w, p->p, p->len);
		return 0;
	case TEMPLATE_METHOD:
		wr_bytes(w, q->head->method.p, q->head->method.len);
		return 0;
	case TEMPLATE_PATH:
		wr_bytes(w, q->meaning->path.p, q->meaning->path.len);
		return 0;
	case TEMPLATE_QUERY:
		wr_bytes(w, q->query.p, q->query.len);
		return 0;
	case TEMPLATE_TARGET:
		wr_bytes(w, q->meaning->path.p, q->meaning->path.len);
		if (q->query.len > 0)
			wr_u8(w, '?');
		wr_bytes(w, q->query.p, q->query.len);
		return 0;
	case TEMPLATE_HOST:
		wr_str(w, q->host);
		return 0;
	case TEMPLATE_TIMESTAMP:
		number(w, q->at_ms / 1000);
		return 0;
	case TEMPLATE_TIMESTAMP_MS:
		number(w, q->at_ms);
		return 0;
	case TEMPLATE_BODY:
		wr_bytes(w, q->body.p, q->body.len);
		return 0;
	case TEMPLATE_BODY_SHA256:
		sigv4_hash(q->body.p, q->body.len, hash);
		sign_hex(hash, sizeof(hash), hex);
		wr_str(w, hex);
		return 0;
	case TEMPLATE_HEADER:
		return header(q, p, w);
	case TEMPLATE_LF:
		wr_u8(w, '\n');
		return 0;
	default:
		return -EINVAL;
	}
}

int hmac_message(const char *params, const struct hmac_request *q, struct wr *w)
{
	const char *at = kind_param(params, "message");
	struct template_piece p;
	int rc = at ? 0 : -EINVAL, got;

	while (rc == 0 && (got = template_next(&at, &p)) != 0)
		rc = got < 0 ? got : piece(q, &p, w);
	return rc < 0 ? rc : w->full ? -E2BIG : 0;
}

void hmac_query(struct http1_slice query, const char *name, struct wr *out)
{
	bool gone = false, first = true;

	while (query.len > 0) {
		const char *end = memchr(query.p, '&', query.len);
		size_t n = end ? (size_t)(end - query.p) : query.len;

		if (!gone && memmem(query.p, n, "agentsecrets", 12) &&
		    memmem(query.p, n, name, strlen(name))) {
			gone = true;
		} else {
			if (!first)
				wr_u8(out, '&');
			wr_bytes(out, query.p, n);
			first = false;
		}
		query = end ? (struct http1_slice){end + 1, query.len - n - 1}
			    : (struct http1_slice){0};
	}
}

static int key_of(const char *params, const uint8_t *key, size_t len, uint8_t out[HMAC_KEY_MAX],
		  size_t *ret_len)
{
	const char *encoding = kind_param(params, "key_encoding");

	if (encoding && strcmp(encoding, "hex") == 0)
		return sodium_hex2bin(out, HMAC_KEY_MAX, (const char *)key, len, NULL, ret_len,
				      NULL) == 0
			       ? 0
			       : -EINVAL;
	if (encoding && strcmp(encoding, "base64") == 0) {
		const char *end;

		if (sodium_base642bin(out, HMAC_KEY_MAX, (const char *)key, len, NULL, ret_len,
				      &end, sodium_base64_VARIANT_ORIGINAL) == 0 &&
		    end == (const char *)key + len)
			return 0;
		return -EINVAL;
	}
	if (len > HMAC_KEY_MAX)
		return -EINVAL;
	memcpy(out, key, len);
	*ret_len = len;
	return 0;
}

static void signature(const char *params, const uint8_t *mac, size_t len, struct wr *w)
{
	const char *encoding = kind_param(params, "encoding");
	char text[EVP_MAX_MD_SIZE * 2 + 1];

	if (!encoding || strcmp(encoding, "hex") == 0)
		sign_hex(mac, len, text);
	else
		(void)sodium_bin2base64(text, sizeof(text), mac, len,
					strcmp(encoding, "base64") == 0
						? sodium_base64_VARIANT_ORIGINAL
						: sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	wr_str(w, text);
}

static const EVP_MD *algorithm(const char *params)
{
	const char *name = kind_param(params, "algorithm");

	return !name || strcmp(name, "sha256") == 0 ? EVP_sha256()
	       : strcmp(name, "sha512") == 0        ? EVP_sha512()
						    : EVP_sha1();
}

int hmac_value(const char *params, const uint8_t *key, size_t key_len, const uint8_t *message,
	       size_t len, uint64_t at_ms, char *out, size_t cap, size_t *ret_len)
{
	const char *at = kind_param(params, "value");
	uint8_t raw[HMAC_KEY_MAX], mac[EVP_MAX_MD_SIZE];
	unsigned int mac_len = 0;
	struct wr w = wr_of(out, cap);
	struct template_piece p;
	size_t raw_len = 0;
	int rc = key_of(params, key, key_len, raw, &raw_len), got;

	if (rc == 0 && !HMAC(algorithm(params), raw, (int)raw_len, message, len, mac, &mac_len))
		rc = -EIO;
	explicit_bzero(raw, sizeof(raw));
	if (!at)
		at = "{signature}";
	while (rc == 0 && (got = template_next(&at, &p)) != 0) {
		rc = got < 0 ? got : 0;
		if (rc < 0 || p.word == TEMPLATE_TEXT)
			wr_bytes(&w, p.p, rc < 0 ? 0 : p.len);
		else if (p.word == TEMPLATE_SIGNATURE)
			signature(params, mac, mac_len, &w);
		else
			number(&w, p.word == TEMPLATE_TIMESTAMP ? at_ms / 1000 : at_ms);
	}
	*ret_len = w.len;
	return rc < 0 ? rc : w.full ? -E2BIG : 0;
}
