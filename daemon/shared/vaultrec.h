/* vaultrec.h: the vault file's format. Pure: bytes in, structs out; nonces and keys are handed in.
 *
 *	head	"ASVAULT\0"  u16 format  u8[16] vault id  u64 generation  u32 count  u8 wraps
 *		wraps × { u8 kind  u16 params_len  params  u16 sealed_len  sealed }
 *	record	u8 kind  u64 seq  u8 ws_len  ws  u8 name_len  name  u8[24] nonce  u32 sealed_len  sealed
 *	end	u8 0xff  u8[32] mac  u8[16] sum
 *
 * All integers big-endian. `count` records follow the head, strictly ascending by (kind, ws, name), so
 * one content has one form. seq is the generation that wrote the record.
 *
 * A wrap is one way to the master key: each holds the same 32 bytes sealed under a key of its own kind,
 * with the head's fixed part, kind and params as AAD. A file has one or more; one that opens is enough,
 * kinds that a program does not know are passed over. KEYFILE: params empty, sealed = nonce, then the
 * box. PASSPHRASE: params = u32 opslimit, u32 memlimit in KiB, 16 salt. CREDENTIAL: as KEYFILE, the key
 * coming from a systemd credential.
 *
 * A record is XChaCha20-Poly1305 with AAD = format, vault id, kind, seq, ws, name. The mac is keyed
 * BLAKE2b-256 over every byte before it: head, all records with their tags, their order and number. So
 * no record can be removed, added, swapped or taken from an older file. What it cannot see is the whole
 * file put back as it once was. The sum is BLAKE2b-128 without a key over every byte before it: it
 * tells a damaged file from another key, and proves nothing; it ends the file in every later format too.
 */
#ifndef VAULTREC_H
#define VAULTREC_H

#include "rd.h"
#include "rpc.h"
#include "wr.h"

#define VAULTREC_FORMAT         1
#define VAULTREC_KEY_LEN        32
#define VAULTREC_ID_LEN         16
#define VAULTREC_NONCE_LEN      24
#define VAULTREC_TAG_LEN        16
#define VAULTREC_MAC_LEN        32
#define VAULTREC_SUM_LEN        16
#define VAULTREC_END_LEN        (1 + VAULTREC_MAC_LEN + VAULTREC_SUM_LEN)
#define VAULTREC_WRAPS_MAX      8
#define VAULTREC_WRAP_BYTES_MAX 4096 /* params and sealed, each */
#define VAULTREC_SEALED_MAX     (RPC_SECRET_MAX + VAULTREC_TAG_LEN)
#define VAULTREC_SIZE_MAX                                                                          \
	(8 + 1 + RPC_WORKSPACE_MAX + 1 + RPC_NAME_MAX + 1 + VAULTREC_NONCE_LEN + 4 +               \
	 VAULTREC_SEALED_MAX)
#define VAULTREC_COUNT_MAX 8192
#define VAULTREC_FILE_MAX  (48u << 20)

enum vaultrec_kind {
	VAULTREC_SECRET = 1, /* ws and name; all others have neither */
	VAULTREC_SIGNING_KEY = 2,
	VAULTREC_CA = 3,    /* key and certificate, ca_save() */
	VAULTREC_AUDIT = 4, /* master key of the audit chains */
	VAULTREC_END = 0xff,
};

enum vaultrec_wrap_kind {
	VAULTREC_WRAP_KEYFILE = 1,
	VAULTREC_WRAP_PASSPHRASE = 2,
	VAULTREC_WRAP_CREDENTIAL = 3,
};

/* Slices point into the file's bytes. */
struct vaultrec_wrap {
	uint8_t kind;
	uint16_t params_len, sealed_len;
	const uint8_t *params, *sealed;
};

struct vaultrec_head {
	uint8_t id[VAULTREC_ID_LEN];
	uint64_t generation;
	uint32_t count;
	uint32_t wrap_count;
	struct vaultrec_wrap wraps[VAULTREC_WRAPS_MAX];
};

struct vaultrec {
	uint8_t kind;
	uint64_t seq;
	char workspace[RPC_WORKSPACE_MAX];
	char name[RPC_NAME_MAX];
	const uint8_t *nonce;
	const uint8_t *sealed;
	uint32_t sealed_len;
};

/* ---- syntax ---- */
/* -EBADMSG: not a vault or damaged; -ENOTSUP: a format of another version. */
int vaultrec_head_parse(struct rd *r, struct vaultrec_head *ret) must_check;
void vaultrec_head_write(struct wr *w, const struct vaultrec_head *h);
/* A record; -EBADMSG also for the end. */
int vaultrec_parse(struct rd *r, struct vaultrec *ret) must_check;
void vaultrec_write(struct wr *w, const struct vaultrec *rec);
/* The end, nothing after it; slices of mac and sum. */
int vaultrec_end_parse(struct rd *r, const uint8_t **ret_mac, const uint8_t **ret_sum) must_check;

/* The whole file by syntax and order, without any key: head, count records, end. recs may be NULL;
 * else it takes up to max records (-E2BIG when there are more). */
int vaultrec_file(const uint8_t *p, size_t len, struct vaultrec_head *head, struct vaultrec *recs,
		  size_t max) must_check;

/* Order of records in a file: <0, 0, >0. */
int vaultrec_order(const struct vaultrec *a, const struct vaultrec *b);
/* Are kind, ws and name such as may stand in a file together. */
bool vaultrec_named_ok(uint8_t kind, const char *ws, const char *name);

/* ---- cryptography ---- */
/* The sum at the end: is the file what was written once. */
bool vaultrec_sum_ok(const uint8_t *p, size_t len);
/* The mac at the end. */
bool vaultrec_mac_ok(const uint8_t mac_key[VAULTREC_KEY_LEN], const uint8_t *p, size_t len);
/* Writes end, mac and sum over all that w holds. */
void vaultrec_end_write(struct wr *w, const uint8_t mac_key[VAULTREC_KEY_LEN]);

/* out: len + VAULTREC_TAG_LEN. rec's kind, seq, ws, name and nonce are what is bound to it. */
void vaultrec_seal(const uint8_t key[VAULTREC_KEY_LEN], const struct vaultrec_head *head,
		   const struct vaultrec *rec, const uint8_t *value, size_t len, uint8_t *out);
/* out: sealed_len - VAULTREC_TAG_LEN. -EBADMSG: not sealed as this record with this key. */
int vaultrec_open(const uint8_t key[VAULTREC_KEY_LEN], const struct vaultrec_head *head,
		  const struct vaultrec *rec, uint8_t *out) must_check;

#define VAULTREC_WRAPPED_LEN (VAULTREC_NONCE_LEN + VAULTREC_KEY_LEN + VAULTREC_TAG_LEN)
/* out: VAULTREC_WRAPPED_LEN, the first VAULTREC_NONCE_LEN of which hold the nonce already. */
void vaultrec_wrap(const uint8_t key[VAULTREC_KEY_LEN], const struct vaultrec_head *head,
		   const struct vaultrec_wrap *wrap, const uint8_t master[VAULTREC_KEY_LEN],
		   uint8_t *out);
int vaultrec_unwrap(const uint8_t key[VAULTREC_KEY_LEN], const struct vaultrec_head *head,
		    const struct vaultrec_wrap *wrap, uint8_t master[VAULTREC_KEY_LEN]) must_check;

/* PASSPHRASE's params: how dear Argon2id is, and its salt. */
#define VAULTREC_SALT_LEN   16
#define VAULTREC_PARAMS_LEN (4 + 4 + VAULTREC_SALT_LEN)
#define VAULTREC_KIB_MIN    8192u
#define VAULTREC_KIB_MAX    1048576u
#define VAULTREC_COST_MAX   (3u << 20) /* passes × KiB: some seconds */
struct vaultrec_cost {
	uint32_t passes, kib;
};
/* Is it a cost that is paid in memory there is, and in seconds. */
bool vaultrec_cost_ok(const struct vaultrec_cost *c);
void vaultrec_params_write(struct wr *w, const struct vaultrec_cost *c,
			   const uint8_t salt[VAULTREC_SALT_LEN]);
/* -EBADMSG: not such params, or a cost that is not ok. *ret_salt points into them. */
int vaultrec_params_parse(const struct vaultrec_wrap *wrap, struct vaultrec_cost *ret,
			  const uint8_t **ret_salt) must_check;
/* The key that a passphrase stands for. -ENOMEM. */
int vaultrec_stretch(const uint8_t *phrase, size_t len, const struct vaultrec_cost *c,
		     const uint8_t salt[VAULTREC_SALT_LEN],
		     uint8_t key[VAULTREC_KEY_LEN]) must_check;

/* The two keys that a master key stands for. */
void vaultrec_keys(const uint8_t master[VAULTREC_KEY_LEN], uint8_t record_key[VAULTREC_KEY_LEN],
		   uint8_t mac_key[VAULTREC_KEY_LEN]);

#endif
