/* vault.c: see vault.h, and vaultrec.h for the file's format.
 *
 * In memory lies one verified image of the file and an index into it; values stay sealed in there. A
 * change makes a new index that points into the old image (and to the one new box), writes a new image
 * from it, puts that on the disk, and only then takes it up: any failure before the rename leaves file,
 * image and index as they were. After the rename the new image is what counts, whatever fails later.
 *
 * On disk vault.bin is replaced first (vaultdisk.h), then vault.bak. vault.bak is never newer than vault.bin, and
 * holds the same content between changes, so a deleted secret is gone from both.
 */
#include "vault.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define VAULT_HEAD_MAX 4096 /* of a head's fixed part */

struct vault {
	struct vaultdisk disk;
	struct secret *master, *record_key, *mac_key;
	uint8_t *image;
	size_t image_len;
	struct vaultrec_head head;
	struct vaultrec *recs;
	struct err warning;
};

/* ---- opening ---- */

static int vault_damaged(struct err *e, const char *what)
{
	return err_set(e, -EBADMSG,
		       "the vault file %s; nothing was touched. Stop the daemon, put " VAULT_BACKUP
		       " in the place of " VAULT_FILE ", and start it again",
		       what);
}

/* Takes the image up when its syntax is good. */
static int vault_index(uint8_t *image, size_t len, struct vaultrec_head *head,
		       struct vaultrec **ret)
{
	auto_free struct vaultrec *recs = NULL;
	int rc = vaultrec_file(image, len, head, NULL, 0);

	if (rc < 0)
		return rc;
	recs = calloc(head->count ? head->count : 1, sizeof(*recs));
	if (!recs)
		return -ENOMEM;
	rc = vaultrec_file(image, len, head, recs, head->count);
	if (rc < 0)
		return rc;
	*ret = take(recs);
	return 0;
}

/* Takes the master key over. */
static int vault_derive(struct vault *v, struct secret **master, struct err *e)
{
	int rc = secret_new(VAULTREC_KEY_LEN, &v->record_key, e);

	if (rc == 0)
		rc = secret_new(VAULTREC_KEY_LEN, &v->mac_key, e);
	if (rc < 0)
		return rc;
	vaultrec_keys(secret_view(*master), secret_bytes(v->record_key), secret_bytes(v->mac_key));
	v->master = take(*master);
	return 0;
}

/* Everything but `there is such a record` is found out here, before anything is answered. */
static int vault_form(const uint8_t *image, size_t len, struct vaultrec_head *head,
		      struct vaultrec **ret, struct err *e)
{
	int rc;

	if (!vaultrec_sum_ok(image, len))
		return vault_damaged(e, "is damaged or cut short");
	rc = vault_index((uint8_t *)(uintptr_t)image, len, head, ret);
	if (rc == -ENOTSUP)
		return err_set(
			e, rc,
			"the vault was written by a newer version; use that one. Nothing was touched");
	if (rc == -ENOMEM)
		return err_set(e, rc, "out of memory");
	return rc < 0 ? vault_damaged(e, "is no vault in form") : 0;
}

static int vault_verify(struct vault *v, const struct vault_key *key, struct err *e)
{
	auto_(secret) struct secret *master = NULL;
	int rc = vault_form(v->image, v->image_len, &v->head, &v->recs, e);

	if (rc == 0)
		rc = vaultlock_open(&v->head, key, &master, e);
	if (rc == 0)
		rc = vault_derive(v, &master, e);
	if (rc < 0)
		return rc;
	if (!vaultrec_mac_ok(secret_view(v->mac_key), v->image, v->image_len))
		return vault_damaged(e, "was altered by something other than this program");
	return 0;
}

/* The beginning of create and open. */
static int vault_new(int dirfd, const struct vault_key *key, bool made, const struct vault_io *io,
		     struct vault **ret, struct err *e)
{
	auto_(vault) struct vault *v = NULL;
	int rc = vaultlock_key_ok(key, made, e);

	if (rc < 0)
		return rc;
	if (sodium_init() < 0)
		return err_set(e, -EIO, "libsodium does not start");
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_set(e, -ENOMEM, "out of memory");
	rc = vaultdisk_open(&v->disk, dirfd, io, e);
	if (rc < 0)
		return rc;
	*ret = take(v);
	return 0;
}

int vault_open(int dirfd, const struct vault_key *key, const struct vault_io *io,
	       struct vault **ret, struct err *e)
{
	auto_(vault) struct vault *v = NULL;
	auto_free char *image = NULL;
	int rc = vault_new(dirfd, key, false, io, &v, e);

	if (rc < 0)
		return rc;
	rc = vaultdisk_load(dirfd, &image, &v->image_len, e);
	if (rc < 0)
		return rc;
	v->image = (uint8_t *)take(image);
	rc = vault_verify(v, key, e);
	if (rc < 0)
		return rc;
	*ret = take(v);
	return 0;
}

struct vault *vault_free(struct vault *v)
{
	if (!v)
		return NULL;
	v->master = secret_free(v->master);
	v->record_key = secret_free(v->record_key);
	v->mac_key = secret_free(v->mac_key);
	own_close(&v->disk.dirfd);
	free(v->recs);
	free(v->image);
	free(v);
	return NULL;
}

/* ---- changing ---- */

/* The file for these records, at the next generation. */
static int vault_build(struct vault *v, const struct vaultrec *recs, uint32_t count, uint8_t **ret,
		       size_t *ret_len, struct err *e)
{
	struct vaultrec_head head = v->head;
	auto_free uint8_t *image = NULL;
	size_t cap = VAULT_HEAD_MAX + VAULTREC_END_LEN;
	struct wr w;
	uint32_t i;

	for (i = 0; i < head.wrap_count; i++)
		cap += 5u + head.wraps[i].params_len + head.wraps[i].sealed_len;
	for (i = 0; i < count; i++)
		cap += VAULTREC_SIZE_MAX - VAULTREC_SEALED_MAX + recs[i].sealed_len;
	if (cap > VAULTREC_FILE_MAX || count > VAULTREC_COUNT_MAX)
		return err_set(e, -E2BIG, "the vault is full (%u values, %u MiB); delete some",
			       VAULTREC_COUNT_MAX, VAULTREC_FILE_MAX >> 20);
	image = malloc(cap);
	if (!image)
		return err_set(e, -ENOMEM, "out of memory");
	head.generation++;
	head.count = count;
	w = wr_of(image, cap);
	vaultrec_head_write(&w, &head);
	for (i = 0; i < count; i++)
		vaultrec_write(&w, &recs[i]);
	vaultrec_end_write(&w, secret_view(v->mac_key));
	assert(!w.full);
	*ret_len = w.len;
	*ret = take(image);
	return 0;
}

/* The copy: its failure is told, not answered, for the change itself is safe. */
static void vault_back_up(struct vault *v)
{
	bool there;
	int rc = vaultdisk_put(&v->disk, VAULT_BACKUP, v->image, v->image_len, &there);

	v->warning.text[0] = '\0';
	if (rc < 0)
		(void)err_set(&v->warning, rc,
			      "the change is kept, but its copy " VAULT_BACKUP
			      " could not be written: %s",
			      strerror(-rc));
}

/* Makes recs (slices into the present image allowed) what the vault holds. */
static int vault_commit(struct vault *v, const struct vaultrec *recs, uint32_t count, struct err *e)
{
	auto_free uint8_t *image = NULL;
	auto_free struct vaultrec *index = NULL;
	struct vaultrec_head head;
	size_t len = 0;
	bool there;
	int rc = vault_build(v, recs, count, &image, &len, e);

	if (rc < 0)
		return rc;
	rc = vault_index(image, len, &head, &index);
	if (rc < 0)
		return err_set(e, rc, "cannot index the changed vault: %s", strerror(-rc));
	rc = vaultdisk_put(&v->disk, VAULT_FILE, image, len, &there);
	if (!there)
		return err_set(e, rc, "cannot write the vault: %s; nothing was changed",
			       strerror(-rc));
	free(v->image);
	free(v->recs);
	v->image = take(image);
	v->image_len = len;
	v->recs = take(index);
	v->head = head;
	if (rc < 0)
		return err_set(
			e, rc,
			"the vault was changed, but the change may not outlive a power cut: %s",
			strerror(-rc));
	vault_back_up(v);
	return 0;
}

/* Where rec stands or would stand. */
static uint32_t vault_find(const struct vault *v, const struct vaultrec *rec, bool *ret_found)
{
	uint32_t lo = 0, hi = v->head.count;

	*ret_found = false;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int d = vaultrec_order(&v->recs[mid], rec);

		if (d == 0) {
			*ret_found = true;
			return mid;
		}
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int vault_named(uint8_t kind, const char *workspace, const char *name, struct vaultrec *rec,
		       struct err *e)
{
	if (!vaultrec_named_ok(kind, workspace, name))
		return err_set(e, -EINVAL, "not a name of a workspace and a secret");
	*rec = (struct vaultrec){.kind = kind};
	(void)snprintf(rec->workspace, sizeof(rec->workspace), "%s", workspace);
	(void)snprintf(rec->name, sizeof(rec->name), "%s", name);
	return 0;
}

/* One value sealed for the next generation; *ret_box holds what rec points to. */
static int vault_box(const struct vault *v, struct vaultrec *rec, const struct secret *value,
		     uint8_t **ret_box, struct err *e)
{
	size_t len = secret_len(value);
	uint8_t *box;

	if (len > VAULTREC_SEALED_MAX - VAULTREC_TAG_LEN)
		return err_set(e, -E2BIG, "the value is longer than %d bytes", RPC_SECRET_MAX);
	box = malloc(VAULTREC_NONCE_LEN + len + VAULTREC_TAG_LEN);
	if (!box)
		return err_set(e, -ENOMEM, "out of memory");
	randombytes_buf(box, VAULTREC_NONCE_LEN);
	rec->seq = v->head.generation + 1;
	rec->nonce = box;
	rec->sealed = box + VAULTREC_NONCE_LEN;
	rec->sealed_len = (uint32_t)(len + VAULTREC_TAG_LEN);
	vaultrec_seal(secret_view(v->record_key), &v->head, rec, secret_view(value), len,
		      box + VAULTREC_NONCE_LEN);
	*ret_box = box;
	return 0;
}

int vault_set(struct vault *v, enum vaultrec_kind kind, const char *workspace, const char *name,
	      const struct secret *value, struct err *e)
{
	auto_free struct vaultrec *recs = NULL;
	auto_free uint8_t *box = NULL;
	struct vaultrec rec;
	uint32_t at, rest;
	bool found;
	int rc = vault_named((uint8_t)kind, workspace, name, &rec, e);

	if (rc == 0)
		rc = vault_box(v, &rec, value, &box, e);
	if (rc < 0)
		return rc;
	recs = calloc(v->head.count + 1u, sizeof(*recs));
	if (!recs)
		return err_set(e, -ENOMEM, "out of memory");
	at = vault_find(v, &rec, &found);
	rest = v->head.count - at - (found ? 1 : 0);
	memcpy(recs, v->recs, at * sizeof(*recs));
	recs[at] = rec;
	memcpy(recs + at + 1, v->recs + v->head.count - rest, rest * sizeof(*recs));
	return vault_commit(v, recs, at + 1 + rest, e);
}

/* Leaves out the secrets of workspace that have this name (NULL: all of them). */
static int vault_remove(struct vault *v, const char *workspace, const char *name, struct err *e)
{
	auto_free struct vaultrec *recs = calloc(v->head.count + 1u, sizeof(*recs));
	uint32_t i, n = 0;

	if (!recs)
		return err_set(e, -ENOMEM, "out of memory");
	for (i = 0; i < v->head.count; i++) {
		const struct vaultrec *r = &v->recs[i];

		if (r->kind != VAULTREC_SECRET || strcmp(r->workspace, workspace) != 0 ||
		    (name && strcmp(r->name, name) != 0))
			recs[n++] = *r;
	}
	if (n == v->head.count)
		return name ? err_set(e, -ENOENT, "the vault has no such secret") : 0;
	return vault_commit(v, recs, n, e);
}

int vault_delete(struct vault *v, const char *workspace, const char *name, struct err *e)
{
	if (!vaultrec_named_ok(VAULTREC_SECRET, workspace, name))
		return err_set(e, -EINVAL, "not a name of a workspace and a secret");
	return vault_remove(v, workspace, name, e);
}

int vault_drop(struct vault *v, const char *workspace, struct err *e)
{
	return vault_remove(v, workspace, NULL, e);
}

/* ---- making ---- */

/* A head with one wrap of a fresh master key; buf is what it points to. */
static int vault_make_head(struct vault *v, const struct vault_key *key,
			   uint8_t buf[VAULTLOCK_WRAP_LEN], struct err *e)
{
	auto_(secret) struct secret *master = NULL;
	int rc = secret_new(VAULTREC_KEY_LEN, &master, e);

	if (rc < 0)
		return rc;
	randombytes_buf(secret_bytes(master), VAULTREC_KEY_LEN);
	randombytes_buf(v->head.id, sizeof(v->head.id));
	rc = vaultlock_make(&v->head, key, master, buf, &v->head.wraps[0], e);
	if (rc < 0)
		return rc;
	v->head.wrap_count = 1;
	return vault_derive(v, &master, e);
}

static int vault_fill(struct vault *v, const struct vault_item *items, size_t count, struct err *e)
{
	struct vaultrec recs[8] = {0};
	uint8_t *boxes[ARRAY_SIZE(recs)] = {0};
	size_t i, n;
	int rc = 0;

	assert(count <= ARRAY_SIZE(recs));
	for (n = 0; n < count && rc == 0; n++) {
		rc = vault_named((uint8_t)items[n].kind, "", "", &recs[n], e);
		if (rc == 0)
			rc = vault_box(v, &recs[n], items[n].value, &boxes[n], e);
	}
	if (rc == 0)
		rc = vault_commit(v, recs, (uint32_t)count, e);
	for (i = 0; i < n; i++)
		free(boxes[i]);
	return rc;
}

int vault_create(int dirfd, const struct vault_key *key, const struct vault_item *items,
		 size_t count, const struct vault_io *io, struct vault **ret, struct err *e)
{
	auto_(vault) struct vault *v = NULL;
	uint8_t wrapped[VAULTLOCK_WRAP_LEN];
	int rc = vault_new(dirfd, key, true, io, &v, e);

	if (rc < 0)
		return rc;
	if (!vaultdisk_empty(&v->disk))
		return err_set(e, -EEXIST,
			       "there is a vault already (or its copy " VAULT_BACKUP
			       "); nothing was touched");
	rc = vault_make_head(v, key, wrapped, e);
	if (rc == 0)
		rc = vault_fill(v, items, count, e);
	if (rc < 0)
		return rc;
	*ret = take(v);
	return 0;
}

/* ---- reading ---- */

int vault_read(const struct vault *v, enum vaultrec_kind kind, const char *workspace,
	       const char *name, struct secret **ret, struct err *e)
{
	auto_(secret) struct secret *s = NULL;
	struct vaultrec rec;
	uint32_t at;
	bool found;
	int rc = vault_named((uint8_t)kind, workspace, name, &rec, e);

	if (rc < 0)
		return rc;
	at = vault_find(v, &rec, &found);
	if (!found)
		return err_set(e, -ENOENT, "the vault has no such secret");
	rc = secret_new(v->recs[at].sealed_len - VAULTREC_TAG_LEN, &s, e);
	if (rc < 0)
		return rc;
	rc = vaultrec_open(secret_view(v->record_key), &v->head, &v->recs[at], secret_bytes(s));
	if (rc < 0)
		return err_set(e, rc, "a record of the vault does not open");
	*ret = take(s);
	return 0;
}

bool vault_has(const struct vault *v, const char *workspace, const char *name)
{
	struct vaultrec rec;
	bool found = false;

	if (vault_named(VAULTREC_SECRET, workspace, name, &rec, NULL) == 0)
		(void)vault_find(v, &rec, &found);
	return found;
}

const char *vault_name(const struct vault *v, const char *workspace, size_t *at)
{
	while (*at < v->head.count) {
		const struct vaultrec *r = &v->recs[(*at)++];

		if (r->kind == VAULTREC_SECRET && strcmp(r->workspace, workspace) == 0)
			return r->name;
	}
	return NULL;
}

uint64_t vault_generation(const struct vault *v)
{
	return v->head.generation;
}

const char *vault_warning(const struct vault *v)
{
	return v->warning.text[0] ? v->warning.text : NULL;
}

/* ---- the whole file ---- */

static void vault_tell(const struct vaultrec_head *h, struct vault_facts *ret)
{
	const uint8_t *salt;
	uint32_t i;

	*ret = (struct vault_facts){
		.generation = h->generation, .records = h->count, .wraps = h->wrap_count};
	for (i = 0; i < h->wrap_count; i++) {
		ret->wrap[i].kind = h->wraps[i].kind;
		if (h->wraps[i].kind == VAULTREC_WRAP_PASSPHRASE &&
		    vaultrec_params_parse(&h->wraps[i], &ret->wrap[i].cost, &salt) < 0)
			ret->wrap[i].cost = (struct vaultrec_cost){0};
	}
}

void vault_facts(const struct vault *v, struct vault_facts *ret)
{
	vault_tell(&v->head, ret);
}

int vault_peek(int dirfd, struct vault_facts *ret, struct err *e)
{
	auto_free struct vaultrec *recs = NULL;
	auto_free char *image = NULL;
	struct vaultrec_head head;
	size_t len = 0;
	int rc = vaultdisk_load(dirfd, &image, &len, e);

	if (rc == 0)
		rc = vault_form((const uint8_t *)image, len, &head, &recs, e);
	if (rc == 0)
		vault_tell(&head, ret);
	return rc;
}

int vault_rewrap(struct vault *v, const struct vault_key *key, struct err *e)
{
	struct vaultrec_head before = v->head;
	uint8_t buf[VAULTLOCK_WRAP_LEN];
	struct vaultrec_wrap wrap;
	int rc = vaultlock_key_ok(key, true, e);

	if (rc == 0)
		rc = vaultlock_make(&v->head, key, v->master, buf, &wrap, e);
	if (rc < 0)
		return rc;
	v->head.wraps[0] = wrap;
	v->head.wrap_count = 1;
	rc = vault_commit(v, v->recs, v->head.count, e);
	if (v->head.generation == before.generation)
		v->head = before; /* nothing was changed */
	return rc;
}

const uint8_t *vault_image(const struct vault *v, size_t *ret_len)
{
	*ret_len = v->image_len;
	return v->image;
}

/* The vault's own keys must be there: without them it would not be taken up again. */
static bool vault_complete(const struct vaultrec *recs, uint32_t count)
{
	bool seen[VAULTREC_AUDIT + 1] = {false};
	uint32_t i;

	for (i = 0; i < count; i++)
		if (recs[i].kind <= VAULTREC_AUDIT)
			seen[recs[i].kind] = true;
	return seen[VAULTREC_SIGNING_KEY] && seen[VAULTREC_CA] && seen[VAULTREC_AUDIT];
}

int vault_restore(struct vault *v, const uint8_t *image, size_t len, struct err *e)
{
	auto_free struct vaultrec *recs = NULL;
	uint64_t generation = v->head.generation, from;
	struct vaultrec_head head;
	bool there;
	int rc;

	if (!vaultrec_sum_ok(image, len) ||
	    vault_index((uint8_t *)(uintptr_t)image, len, &head, &recs) < 0)
		return err_set(
			e, -EBADMSG,
			"the backup is damaged, cut short, or no backup; nothing was touched");
	if (memcmp(head.id, v->head.id, sizeof(head.id)) != 0)
		return err_set(
			e, -EXDEV,
			"this is a backup of another vault; to use it here, stop the daemon and put the state "
			"directory back that belongs to it. Nothing was touched");
	if (!vaultrec_mac_ok(secret_view(v->mac_key), image, len) ||
	    !vault_complete(recs, head.count))
		return err_set(
			e, -EBADMSG,
			"the backup was altered by something other than this program; nothing was touched");
	rc = vaultdisk_put(&v->disk, VAULT_OLD, v->image, v->image_len, &there);
	if (rc < 0)
		return err_set(e, rc,
			       "cannot keep the vault as " VAULT_OLD ": %s; nothing was changed",
			       strerror(-rc));
	from = head.generation > generation ? head.generation : generation;
	v->head.generation = from;
	rc = vault_commit(v, recs, head.count, e);
	if (v->head.generation == from)
		v->head.generation = generation; /* nothing was changed */
	return rc;
}
