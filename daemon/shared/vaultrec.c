/* vaultrec.c: see vaultrec.h for the format. Syntax first (nothing here allocates, reads a clock or trusts
 * a length), then cryptography over what was parsed. What is authenticated is written by the same
 * functions that read it, so that two different files cannot mean the same.
 */
#include "vaultrec.h"

#include "rules.h"

#include <assert.h>
#include <sodium.h>

#define VAULTREC_MAGIC     "ASVAULT" /* and its NUL */
#define VAULTREC_MAGIC_LEN 8
#define VAULTREC_AAD_MAX   (2 + VAULTREC_ID_LEN + 1 + 8 + 1 + RPC_WORKSPACE_MAX + 1 + RPC_NAME_MAX)
#define VAULTREC_WRAP_AAD_MAX                                                                      \
	(VAULTREC_MAGIC_LEN + 2 + VAULTREC_ID_LEN + 1 + 2 + VAULTREC_WRAP_BYTES_MAX)
#define VAULTREC_CONTEXT "asvault1" /* of crypto_kdf */

_Static_assert(VAULTREC_NONCE_LEN == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "XChaCha20");
_Static_assert(VAULTREC_TAG_LEN == crypto_aead_xchacha20poly1305_ietf_ABYTES, "Poly1305");
_Static_assert(VAULTREC_KEY_LEN == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "XChaCha20");
_Static_assert(VAULTREC_SALT_LEN == crypto_pwhash_SALTBYTES, "Argon2id");
_Static_assert(VAULTREC_KEY_LEN == crypto_kdf_KEYBYTES, "crypto_kdf");

/* ---- head ---- */

static void vaultrec_wrap_parse(struct rd *r, struct vaultrec_wrap *w)
{
	w->kind = rd_u8(r);
	w->params_len = rd_u16(r);
	if (w->params_len > VAULTREC_WRAP_BYTES_MAX)
		r->bad = true;
	w->params = rd_take(r, w->params_len);
	w->sealed_len = rd_u16(r);
	if (w->sealed_len > VAULTREC_WRAP_BYTES_MAX)
		r->bad = true;
	w->sealed = rd_take(r, w->sealed_len);
}

int vaultrec_head_parse(struct rd *r, struct vaultrec_head *ret)
{
	struct vaultrec_head h = {0};
	const uint8_t *magic = rd_take(r, VAULTREC_MAGIC_LEN), *id;
	uint16_t format = rd_u16(r);
	uint32_t i;

	if (r->bad || memcmp(magic, VAULTREC_MAGIC, VAULTREC_MAGIC_LEN) != 0)
		return -EBADMSG;
	if (format != VAULTREC_FORMAT)
		return -ENOTSUP;
	id = rd_take(r, VAULTREC_ID_LEN);
	h.generation = rd_u64(r);
	h.count = rd_u32(r);
	h.wrap_count = rd_u8(r);
	if (r->bad || h.generation == 0 || h.count > VAULTREC_COUNT_MAX || h.wrap_count == 0 ||
	    h.wrap_count > VAULTREC_WRAPS_MAX)
		return -EBADMSG;
	memcpy(h.id, id, VAULTREC_ID_LEN);
	for (i = 0; i < h.wrap_count; i++)
		vaultrec_wrap_parse(r, &h.wraps[i]);
	if (r->bad)
		return -EBADMSG;
	*ret = h;
	return 0;
}

void vaultrec_head_write(struct wr *w, const struct vaultrec_head *h)
{
	uint32_t i;

	assert(h->wrap_count > 0 && h->wrap_count <= VAULTREC_WRAPS_MAX);
	wr_bytes(w, VAULTREC_MAGIC, VAULTREC_MAGIC_LEN);
	wr_u16(w, VAULTREC_FORMAT);
	wr_bytes(w, h->id, VAULTREC_ID_LEN);
	wr_u64(w, h->generation);
	wr_u32(w, h->count);
	wr_u8(w, (uint8_t)h->wrap_count);
	for (i = 0; i < h->wrap_count; i++) {
		const struct vaultrec_wrap *k = &h->wraps[i];

		wr_u8(w, k->kind);
		wr_u16(w, k->params_len);
		wr_bytes(w, k->params, k->params_len);
		wr_u16(w, k->sealed_len);
		wr_bytes(w, k->sealed, k->sealed_len);
	}
}

/* ---- records ---- */

bool vaultrec_named_ok(uint8_t kind, const char *ws, const char *name)
{
	switch (kind) {
	case VAULTREC_SECRET:
		return rules_workspace_ok(ws) && rules_name_ok(name);
	case VAULTREC_SIGNING_KEY:
	case VAULTREC_CA:
	case VAULTREC_AUDIT:
		return ws[0] == '\0' && name[0] == '\0';
	default:
		return false;
	}
}

/* A string of one length byte, without NUL inside; "" when it is bad. */
static void vaultrec_str(struct rd *r, char *out, size_t cap)
{
	size_t n = rd_u8(r);
	const uint8_t *p = rd_take(r, n);

	out[0] = '\0';
	if (!p)
		return;
	if (n >= cap || memchr(p, '\0', n)) {
		r->bad = true;
		return;
	}
	memcpy(out, p, n);
	out[n] = '\0';
}

int vaultrec_parse(struct rd *r, struct vaultrec *ret)
{
	struct vaultrec v = {0};

	v.kind = rd_u8(r);
	v.seq = rd_u64(r);
	vaultrec_str(r, v.workspace, sizeof(v.workspace));
	vaultrec_str(r, v.name, sizeof(v.name));
	v.nonce = rd_take(r, VAULTREC_NONCE_LEN);
	v.sealed_len = rd_u32(r);
	if (v.sealed_len <= VAULTREC_TAG_LEN || v.sealed_len > VAULTREC_SEALED_MAX)
		return -EBADMSG;
	v.sealed = rd_take(r, v.sealed_len);
	if (r->bad || !vaultrec_named_ok(v.kind, v.workspace, v.name))
		return -EBADMSG;
	*ret = v;
	return 0;
}

static void vaultrec_str_write(struct wr *w, const char *s)
{
	size_t n = strlen(s);

	assert(n < 256);
	wr_u8(w, (uint8_t)n);
	wr_bytes(w, s, n);
}

void vaultrec_write(struct wr *w, const struct vaultrec *rec)
{
	wr_u8(w, rec->kind);
	wr_u64(w, rec->seq);
	vaultrec_str_write(w, rec->workspace);
	vaultrec_str_write(w, rec->name);
	wr_bytes(w, rec->nonce, VAULTREC_NONCE_LEN);
	wr_u32(w, rec->sealed_len);
	wr_bytes(w, rec->sealed, rec->sealed_len);
}

int vaultrec_end_parse(struct rd *r, const uint8_t **ret_mac, const uint8_t **ret_sum)
{
	uint8_t kind = rd_u8(r);
	const uint8_t *mac = rd_take(r, VAULTREC_MAC_LEN);
	const uint8_t *sum = rd_take(r, VAULTREC_SUM_LEN);

	if (r->bad || kind != VAULTREC_END || r->at != r->len)
		return -EBADMSG;
	*ret_mac = mac;
	*ret_sum = sum;
	return 0;
}

int vaultrec_order(const struct vaultrec *a, const struct vaultrec *b)
{
	int d = (int)a->kind - (int)b->kind;

	if (d == 0)
		d = strcmp(a->workspace, b->workspace);
	return d ? d : strcmp(a->name, b->name);
}

int vaultrec_file(const uint8_t *p, size_t len, struct vaultrec_head *head, struct vaultrec *recs,
		  size_t max)
{
	struct rd r = rd_of(p, len);
	struct vaultrec rec, before = {0};
	const uint8_t *mac, *sum;
	uint32_t i;
	int rc;

	if (len > VAULTREC_FILE_MAX)
		return -E2BIG;
	rc = vaultrec_head_parse(&r, head);
	if (rc < 0)
		return rc;
	if (recs && head->count > max)
		return -E2BIG;
	for (i = 0; i < head->count; i++) {
		rc = vaultrec_parse(&r, &rec);
		if (rc < 0)
			return rc;
		/* kind 0 of the zeroed first `before` sorts below all */
		if (vaultrec_order(&before, &rec) >= 0 || rec.seq == 0 ||
		    rec.seq > head->generation)
			return -EBADMSG;
		before = rec;
		if (recs)
			recs[i] = rec;
	}
	return vaultrec_end_parse(&r, &mac, &sum);
}

/* ---- cryptography ---- */

bool vaultrec_sum_ok(const uint8_t *p, size_t len)
{
	uint8_t sum[VAULTREC_SUM_LEN];

	if (len < VAULTREC_END_LEN)
		return false;
	len -= VAULTREC_SUM_LEN;
	(void)crypto_generichash(sum, sizeof(sum), p, len, NULL, 0);
	return sodium_memcmp(sum, p + len, sizeof(sum)) == 0;
}

bool vaultrec_mac_ok(const uint8_t mac_key[VAULTREC_KEY_LEN], const uint8_t *p, size_t len)
{
	uint8_t mac[VAULTREC_MAC_LEN];

	if (len < VAULTREC_END_LEN)
		return false;
	len -= VAULTREC_MAC_LEN + VAULTREC_SUM_LEN;
	(void)crypto_generichash(mac, sizeof(mac), p, len, mac_key, VAULTREC_KEY_LEN);
	return sodium_memcmp(mac, p + len, sizeof(mac)) == 0;
}

void vaultrec_end_write(struct wr *w, const uint8_t mac_key[VAULTREC_KEY_LEN])
{
	uint8_t mac[VAULTREC_MAC_LEN], sum[VAULTREC_SUM_LEN];

	wr_u8(w, VAULTREC_END);
	(void)crypto_generichash(mac, sizeof(mac), w->p, w->len, mac_key, VAULTREC_KEY_LEN);
	wr_bytes(w, mac, sizeof(mac));
	(void)crypto_generichash(sum, sizeof(sum), w->p, w->len, NULL, 0);
	wr_bytes(w, sum, sizeof(sum));
}

/* What a record's box is bound to. */
static size_t vaultrec_aad(const struct vaultrec_head *h, const struct vaultrec *rec,
			   uint8_t out[VAULTREC_AAD_MAX])
{
	struct wr w = wr_of(out, VAULTREC_AAD_MAX);

	wr_u16(&w, VAULTREC_FORMAT);
	wr_bytes(&w, h->id, VAULTREC_ID_LEN);
	wr_u8(&w, rec->kind);
	wr_u64(&w, rec->seq);
	vaultrec_str_write(&w, rec->workspace);
	vaultrec_str_write(&w, rec->name);
	assert(!w.full);
	return w.len;
}

void vaultrec_seal(const uint8_t key[VAULTREC_KEY_LEN], const struct vaultrec_head *head,
		   const struct vaultrec *rec, const uint8_t *value, size_t len, uint8_t *out)
{
	uint8_t aad[VAULTREC_AAD_MAX];
	size_t aad_len = vaultrec_aad(head, rec, aad);

	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, value, len, aad, aad_len, NULL,
							 rec->nonce, key);
}

int vaultrec_open(const uint8_t key[VAULTREC_KEY_LEN], const struct vaultrec_head *head,
		  const struct vaultrec *rec, uint8_t *out)
{
	uint8_t aad[VAULTREC_AAD_MAX];
	size_t aad_len = vaultrec_aad(head, rec, aad);

	if (rec->sealed_len <= VAULTREC_TAG_LEN)
		return -EBADMSG;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, rec->sealed,
						       rec->sealed_len, aad, aad_len, rec->nonce,
						       key) != 0)
		return -EBADMSG;
	return 0;
}

/* The generation is left out: a wrap stays as it is when records change. */
static size_t vaultrec_wrap_aad(const struct vaultrec_head *h, const struct vaultrec_wrap *k,
				uint8_t out[VAULTREC_WRAP_AAD_MAX])
{
	struct wr w = wr_of(out, VAULTREC_WRAP_AAD_MAX);

	wr_bytes(&w, VAULTREC_MAGIC, VAULTREC_MAGIC_LEN);
	wr_u16(&w, VAULTREC_FORMAT);
	wr_bytes(&w, h->id, VAULTREC_ID_LEN);
	wr_u8(&w, k->kind);
	wr_u16(&w, k->params_len);
	wr_bytes(&w, k->params, k->params_len);
	assert(!w.full);
	return w.len;
}

void vaultrec_wrap(const uint8_t key[VAULTREC_KEY_LEN], const struct vaultrec_head *head,
		   const struct vaultrec_wrap *wrap, const uint8_t master[VAULTREC_KEY_LEN],
		   uint8_t *out)
{
	uint8_t aad[VAULTREC_WRAP_AAD_MAX];
	size_t aad_len = vaultrec_wrap_aad(head, wrap, aad);

	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(out + VAULTREC_NONCE_LEN, NULL, master,
							 VAULTREC_KEY_LEN, aad, aad_len, NULL, out,
							 key);
}

int vaultrec_unwrap(const uint8_t key[VAULTREC_KEY_LEN], const struct vaultrec_head *head,
		    const struct vaultrec_wrap *wrap, uint8_t master[VAULTREC_KEY_LEN])
{
	uint8_t aad[VAULTREC_WRAP_AAD_MAX];
	size_t aad_len = vaultrec_wrap_aad(head, wrap, aad);

	if (wrap->sealed_len != VAULTREC_WRAPPED_LEN)
		return -EBADMSG;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(master, NULL, NULL,
						       wrap->sealed + VAULTREC_NONCE_LEN,
						       VAULTREC_WRAPPED_LEN - VAULTREC_NONCE_LEN,
						       aad, aad_len, wrap->sealed, key) != 0)
		return -EBADMSG;
	return 0;
}

bool vaultrec_cost_ok(const struct vaultrec_cost *c)
{
	return c->passes >= 1 && c->kib >= VAULTREC_KIB_MIN && c->kib <= VAULTREC_KIB_MAX &&
	       (uint64_t)c->passes * c->kib <= VAULTREC_COST_MAX;
}

void vaultrec_params_write(struct wr *w, const struct vaultrec_cost *c,
			   const uint8_t salt[VAULTREC_SALT_LEN])
{
	wr_u32(w, c->passes);
	wr_u32(w, c->kib);
	wr_bytes(w, salt, VAULTREC_SALT_LEN);
}

int vaultrec_params_parse(const struct vaultrec_wrap *wrap, struct vaultrec_cost *ret,
			  const uint8_t **ret_salt)
{
	struct rd r = rd_of(wrap->params, wrap->params_len);
	struct vaultrec_cost c = {.passes = rd_u32(&r)};
	const uint8_t *salt;

	c.kib = rd_u32(&r);
	salt = rd_take(&r, VAULTREC_SALT_LEN);
	if (r.bad || r.at != r.len || !vaultrec_cost_ok(&c))
		return -EBADMSG;
	*ret = c;
	*ret_salt = salt;
	return 0;
}

int vaultrec_stretch(const uint8_t *phrase, size_t len, const struct vaultrec_cost *c,
		     const uint8_t salt[VAULTREC_SALT_LEN], uint8_t key[VAULTREC_KEY_LEN])
{
	return crypto_pwhash(key, VAULTREC_KEY_LEN, (const char *)phrase, len, salt, c->passes,
			     (size_t)c->kib << 10, crypto_pwhash_ALG_ARGON2ID13) == 0
		       ? 0
		       : -ENOMEM;
}

void vaultrec_keys(const uint8_t master[VAULTREC_KEY_LEN], uint8_t record_key[VAULTREC_KEY_LEN],
		   uint8_t mac_key[VAULTREC_KEY_LEN])
{
	(void)crypto_kdf_derive_from_key(record_key, VAULTREC_KEY_LEN, 1, VAULTREC_CONTEXT, master);
	(void)crypto_kdf_derive_from_key(mac_key, VAULTREC_KEY_LEN, 2, VAULTREC_CONTEXT, master);
}
