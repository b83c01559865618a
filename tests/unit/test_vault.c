/* The vault on disk. The power is cut at every step of every change, and what was not made durable until
 * then is lost, wholly, in half or not at all: the vault is then what it was or what it became.
 */
#include "vault.h"

#include "fdio.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include <sodium.h>

static char dir_path[] = "/dev/shm/test-vault-XXXXXX"; /* memory: the power cut is ours */
static int dir = -1;
static struct secret *key;

/* A key file with these bytes. */
static const struct vault_key *by(const struct secret *bytes)
{
	static struct vault_key k;

	k = (struct vault_key){.kind = VAULTREC_WRAP_KEYFILE, .bytes = bytes};
	return &k;
}

static struct secret *text(const char *s)
{
	struct secret *r = NULL;

	assert_int_equal(secret_of(s, strlen(s), &r, NULL), 0);
	return r;
}

static void clean(void)
{
	static const char *const names[] = {"vault.bin",     "vault.bin.new", "vault.bak",
					    "was-vault.bin", "was-vault.bak", "vault.old",
					    "was-vault.old"};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		(void)unlinkat(dir, names[i], 0);
}

static int set(struct vault *v, const char *ws, const char *name, const char *value)
{
	struct secret *s = text(value);
	int rc = vault_set(v, VAULTREC_SECRET, ws, name, s, NULL);

	secret_free(s);
	return rc;
}

/* Is this the value; NULL: there must be none. */
static bool holds(const struct vault *v, const char *ws, const char *name, const char *value)
{
	struct secret *s = NULL;
	int rc = vault_read(v, VAULTREC_SECRET, ws, name, &s, NULL);
	bool is = value ? rc == 0 && secret_same(s, value, strlen(value)) : rc == -ENOENT;

	assert_int_equal(vault_has(v, ws, name), rc == 0);
	secret_free(s);
	return is;
}

static struct vault *create(const struct vault_io *io, int want)
{
	struct secret *sign = text("signing"), *ca = text("certificate authority"),
		      *audit = text("audit");
	const struct vault_item items[] = {
		{VAULTREC_SIGNING_KEY, sign}, {VAULTREC_CA, ca}, {VAULTREC_AUDIT, audit}};
	struct vault *v = NULL;

	assert_int_equal(vault_create(dir, by(key), items, ARRAY_SIZE(items), io, &v, NULL), want);
	secret_free(sign);
	secret_free(ca);
	secret_free(audit);
	return v;
}

static struct vault *reopen(struct vault *v)
{
	struct vault *again = NULL;
	struct err e = {0};

	vault_free(v);
	if (vault_open(dir, by(key), NULL, &again, &e) < 0)
		fail_msg("%s", e.text);
	return again;
}

static char *slurp(const char *name, size_t *len)
{
	char *p = NULL;

	assert_int_equal(fdio_read_file(dir, name, 1 << 16, &p, len), 0);
	return p;
}

static void put(const char *name, const void *p, size_t len)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, len), (ssize_t)len);
	close(fd);
}

static void assert_file(const char *name, const void *p, size_t len)
{
	size_t n;
	char *got = slurp(name, &n);

	assert_int_equal(n, len);
	assert_memory_equal(got, p, len);
	free(got);
}

static void test_life(void **state)
{
	struct vault *v = create(NULL, 0);
	struct secret *s = NULL;
	struct stat st;
	size_t at = 0, n;
	char *bytes;

	(void)state;
	assert_int_equal(vault_generation(v), 1);
	assert_int_equal(set(v, "demo", "STRIPE_KEY", "sk_live_SENTINEL"), 0);
	assert_int_equal(set(v, "demo", "A_KEY", "a"), 0);
	assert_int_equal(set(v, "demo", "Z_KEY", "z"), 0);
	assert_int_equal(set(v, "other", "A_KEY", "other a"), 0);
	assert_int_equal(set(v, "demo", "A_KEY", "a changed"), 0);
	assert_null(vault_warning(v));
	v = reopen(v);
	assert_int_equal(vault_generation(v), 6);
	assert_true(holds(v, "demo", "STRIPE_KEY", "sk_live_SENTINEL"));
	assert_true(holds(v, "demo", "A_KEY", "a changed"));
	assert_true(holds(v, "other", "A_KEY", "other a"));
	assert_true(holds(v, "other", "Z_KEY", NULL));
	assert_string_equal(vault_name(v, "demo", &at), "A_KEY");
	assert_string_equal(vault_name(v, "demo", &at), "STRIPE_KEY");
	assert_string_equal(vault_name(v, "demo", &at), "Z_KEY");
	assert_null(vault_name(v, "demo", &at));
	assert_int_equal(vault_read(v, VAULTREC_CA, "", "", &s, NULL), 0);
	assert_true(secret_same(s, "certificate authority", 21));
	s = secret_free(s);
	assert_int_equal(fstatat(dir, "vault.bin", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	bytes = slurp("vault.bin", &n);
	assert_null(memmem(bytes, n, "SENTINEL", 8));
	assert_file("vault.bak", bytes, n);
	free(bytes);
	assert_int_equal(vault_delete(v, "demo", "A_KEY", NULL), 0);
	assert_int_equal(vault_delete(v, "demo", "A_KEY", NULL), -ENOENT);
	assert_int_equal(vault_drop(v, "demo", NULL), 0);
	assert_int_equal(vault_drop(v, "demo", NULL), 0);
	assert_int_equal(vault_generation(v), 8);
	v = reopen(v);
	assert_true(holds(v, "demo", "STRIPE_KEY", NULL));
	assert_true(holds(v, "other", "A_KEY", "other a"));
	assert_null(create(NULL, -EEXIST));
	vault_free(v);
	assert_int_equal(unlinkat(dir, "vault.bin", 0), 0);
	assert_null(create(NULL, -EEXIST)); /* the copy alone is worth keeping too */
	clean();
}

static void test_refused(void **state)
{
	static const char *const names[][2] = {{"", "KEY"},      {"demo", ""},    {"Demo", "KEY"},
					       {"demo", "key"},  {"../x", "KEY"}, {"demo", "K-Y"},
					       {"demo", "1KEY"}, {"", ""}};
	struct vault *v = create(NULL, 0);
	struct secret *s = NULL, *big = NULL;
	struct err e = {0};
	size_t i, n, m;
	char *before = slurp("vault.bin", &n);

	(void)state;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(set(v, names[i][0], names[i][1], "v"), -EINVAL);
		assert_int_equal(vault_delete(v, names[i][0], names[i][1], &e), -EINVAL);
		assert_int_equal(vault_read(v, VAULTREC_SECRET, names[i][0], names[i][1], &s, &e),
				 -EINVAL);
		assert_false(vault_has(v, names[i][0], names[i][1]));
	}
	assert_int_equal(vault_read(v, VAULTREC_CA, "demo", "", &s, &e), -EINVAL);
	assert_int_equal(vault_read(v, VAULTREC_END, "", "", &s, &e), -EINVAL);
	assert_int_equal(secret_new(RPC_SECRET_MAX + 1, &big, NULL), 0);
	assert_int_equal(vault_set(v, VAULTREC_SECRET, "demo", "KEY", big, &e), -E2BIG);
	secret_cut(big, RPC_SECRET_MAX);
	assert_file("vault.bin", before, n);
	assert_int_equal(vault_set(v, VAULTREC_SECRET, "demo", "KEY", big, &e), 0);
	v = reopen(v);
	assert_int_equal(vault_read(v, VAULTREC_SECRET, "demo", "KEY", &s, &e), 0);
	assert_true(secret_same(s, secret_view(big), RPC_SECRET_MAX));
	free(before);
	before = slurp("vault.bin", &m);
	assert_true(m > n);
	free(before);
	secret_free(big);
	secret_free(s);
	vault_free(v);
	clean();
}

static void test_wrong_key(void **state)
{
	uint8_t bytes[VAULT_KEY_LEN];
	struct secret *other = NULL, *shorter = NULL;
	struct vault *v = create(NULL, 0), *w = NULL;
	struct err e = {0};
	size_t i, n;
	char *before;

	(void)state;
	assert_int_equal(vault_open(dir, by(key), NULL, &w, &e), 0);
	w = vault_free(w);
	before = slurp("vault.bin", &n);
	for (i = 0; i < 8 * sizeof(bytes); i++) {
		memcpy(bytes, secret_view(key), sizeof(bytes));
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(secret_of(bytes, sizeof(bytes), &other, NULL), 0);
		assert_int_equal(vault_open(dir, by(other), NULL, &w, &e), -EKEYREJECTED);
		assert_non_null(strstr(e.text, "key file"));
		other = secret_free(other);
	}
	assert_int_equal(secret_of(bytes, 31, &shorter, NULL), 0);
	assert_int_equal(vault_open(dir, by(shorter), NULL, &w, &e), -EINVAL);
	assert_int_equal(vault_create(dir, by(shorter), NULL, 0, NULL, &w, &e), -EINVAL);
	assert_null(w);
	assert_file("vault.bin", before, n);
	free(before);
	secret_free(shorter);
	vault_free(v);
	clean();
	assert_int_equal(vault_open(dir, by(key), NULL, &w, &e), -ENOENT);
}

static void fix_sum(char *p, size_t len)
{
	len -= VAULTREC_SUM_LEN;
	(void)crypto_generichash((uint8_t *)p + len, VAULTREC_SUM_LEN, (uint8_t *)p, len, NULL, 0);
}

/* Every bit of a small vault, every length: refused with a sentence, and left alone. */
static void test_damage(void **state)
{
	struct vault *v = create(NULL, 0), *w = NULL;
	size_t n, i;
	char *good, *bad;
	struct err e;

	(void)state;
	assert_int_equal(set(v, "demo", "KEY", "value"), 0);
	vault_free(v);
	good = slurp("vault.bin", &n);
	bad = malloc(n + 1);
	for (i = 0; i < 8 * n; i++) {
		memcpy(bad, good, n);
		bad[i / 8] = (char)(bad[i / 8] ^ 1 << i % 8);
		put("vault.bin", bad, n);
		assert_int_equal(vault_open(dir, by(key), NULL, &w, &e), -EBADMSG);
		assert_non_null(strstr(e.text, "vault.bak"));
		fix_sum(bad, n); /* somebody who knows how */
		if (memcmp(bad, good, n) == 0)
			continue; /* the flip was in the sum */
		put("vault.bin", bad, n);
		assert_int_not_equal(vault_open(dir, by(key), NULL, &w, &e), 0);
		assert_file("vault.bin", bad, n);
	}
	for (i = 0; i < n; i++) {
		put("vault.bin", good, i);
		assert_int_equal(vault_open(dir, by(key), NULL, &w, &e), -EBADMSG);
		assert_file("vault.bin", good, i);
	}
	put("vault.bin", good, n);
	assert_int_equal(vault_open(dir, by(key), NULL, &w, &e), 0);
	assert_true(holds(w, "demo", "KEY", "value"));
	vault_free(w);
	free(good);
	free(bad);
	clean();
}

/* Writes a file from records, as one without the mac key can: the end and its mac are the old ones. */
static int open_forged(const struct vaultrec_head *h, const struct vaultrec *recs,
		       const uint8_t *old, size_t old_len)
{
	static const uint8_t no_key[VAULTREC_KEY_LEN];
	uint8_t out[8192];
	struct wr w = wr_of(out, sizeof(out));
	struct vault *v = NULL;
	struct err e;
	uint32_t i;
	int rc;

	vaultrec_head_write(&w, h);
	for (i = 0; i < h->count; i++)
		vaultrec_write(&w, &recs[i]);
	vaultrec_end_write(&w, no_key);
	assert_false(w.full);
	if (old)
		memcpy(out + w.len - VAULTREC_SUM_LEN - VAULTREC_MAC_LEN,
		       old + old_len - VAULTREC_SUM_LEN - VAULTREC_MAC_LEN, VAULTREC_MAC_LEN);
	fix_sum((char *)out, w.len);
	put("vault.bin", out, w.len);
	rc = vault_open(dir, by(key), NULL, &v, &e);
	vault_free(v);
	return rc;
}

/* Records removed, swapped, renamed, or put back as they once were. */
static void test_forged(void **state)
{
	struct vault *v = create(NULL, 0);
	struct vaultrec_head h, h_old;
	struct vaultrec r[8], r_old[8], x[8];
	size_t n, n_old;
	uint8_t *now, *old;

	(void)state;
	assert_int_equal(set(v, "demo", "A", "revoked"), 0);
	assert_int_equal(set(v, "demo", "B", "bbb"), 0);
	old = (uint8_t *)slurp("vault.bin", &n_old);
	assert_int_equal(set(v, "demo", "A", "current"), 0);
	now = (uint8_t *)slurp("vault.bin", &n);
	vault_free(v);
	assert_int_equal(vaultrec_file(old, n_old, &h_old, r_old, 8), 0);
	assert_int_equal(vaultrec_file(now, n, &h, r, 8), 0);
	assert_int_equal(h.count, 5);
	assert_int_equal(open_forged(&h, r, now, n), 0); /* the forger's tools work */
	assert_int_equal(open_forged(&h, r, NULL, 0), -EBADMSG);

	memcpy(x, r, sizeof(x)); /* one record of before */
	x[0] = r_old[0];
	assert_int_equal(open_forged(&h, x, now, n), -EBADMSG);
	assert_int_equal(open_forged(&h, x, old, n_old), -EBADMSG);

	memcpy(x, r, sizeof(x)); /* A's box under B's name, and the other way */
	x[0].sealed = r[1].sealed;
	x[0].sealed_len = r[1].sealed_len;
	x[0].nonce = r[1].nonce;
	assert_int_equal(open_forged(&h, x, now, n), -EBADMSG);

	memcpy(x, r, sizeof(x)); /* another name */
	strcpy(x[1].name, "C");
	assert_int_equal(open_forged(&h, x, now, n), -EBADMSG);

	memcpy(x, r, sizeof(x)); /* one less */
	x[0] = r[1];
	x[1] = r[2];
	x[2] = r[3];
	x[3] = r[4];
	h.count--;
	assert_int_equal(open_forged(&h, x, now, n), -EBADMSG);
	h.count++;

	h.generation++; /* pretends to be newer */
	assert_int_equal(open_forged(&h, r, now, n), -EBADMSG);
	h.generation--;
	assert_int_equal(open_forged(&h, r, now, n), 0);
	free(old);
	free(now);
	clean();
}

/* ---- the power cut ---- */

struct disk {
	int step, cut; /* steps so far; the one at which the power goes */
	bool half;     /* the cut step is still done (a write: half of it) */
	bool dead;
	bool dirty_new, dirty_vault, dirty_bak,
		dirty_old; /* bytes of the file under that name are not durable */
	bool renamed_vault, renamed_bak, renamed_old; /* the name is not durable */
};

static bool disk_cut(struct disk *d)
{
	if (!d->dead && d->step++ == d->cut)
		d->dead = true;
	errno = EIO;
	return d->dead;
}

static int disk_create(void *ctx, int dirfd, const char *name)
{
	struct disk *d = ctx;
	bool was = d->dead;

	if (disk_cut(d) && (was || !d->half))
		return -1;
	d->dirty_new = true;
	return d->dead ? -1 : openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static ssize_t disk_write(void *ctx, int fd, const void *p, size_t len)
{
	struct disk *d = ctx;
	size_t some = len < 150 ? len : 150; /* short writes are part of it */

	if (disk_cut(d)) {
		if (d->half && d->step == d->cut + 1)
			(void)!write(fd, p, some / 2);
		d->step++;
		return -1;
	}
	return write(fd, p, some);
}

static int disk_fsync(void *ctx, int fd)
{
	struct disk *d = ctx;
	struct stat st;

	if (disk_cut(d))
		return -1;
	assert_int_equal(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode))
		d->renamed_vault = d->renamed_bak = d->renamed_old = false;
	else
		d->dirty_new = false;
	return 0;
}

static int disk_rename(void *ctx, int dirfd, const char *from, const char *to)
{
	struct disk *d = ctx;
	bool was = d->dead;
	char saved[64];

	if (disk_cut(d) && (was || !d->half))
		return -1;
	assert_string_equal(from, "vault.bin.new");
	(void)snprintf(saved, sizeof(saved), "was-%s", to);
	(void)unlinkat(dirfd, saved, 0);
	assert_true(linkat(dirfd, to, dirfd, saved, 0) == 0 || errno == ENOENT);
	assert_int_equal(renameat(dirfd, from, dirfd, to), 0);
	if (strcmp(to, "vault.bin") == 0) {
		d->dirty_vault = d->dirty_new;
		d->renamed_vault = true;
	} else if (strcmp(to, "vault.bak") == 0) {
		d->dirty_bak = d->dirty_new;
		d->renamed_bak = true;
	} else {
		assert_string_equal(to, "vault.old");
		d->dirty_old = d->dirty_new;
		d->renamed_old = true;
	}
	d->dirty_new = false;
	errno = EIO;
	return d->dead ? -1 : 0;
}

/* Bytes that were not durable: kept (0), half (1), gone (2). */
static void disk_lose(const char *name, bool dirty, int how)
{
	struct stat st;

	if (dirty && how > 0 && fstatat(dir, name, &st, 0) == 0) {
		int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, how == 1 ? st.st_size / 2 : 0), 0);
		close(fd);
	}
}

/* A name that was not durable: the file has its old one again. */
static void disk_unrename(const char *name, bool renamed)
{
	char saved[64];

	if (!renamed)
		return;
	(void)snprintf(saved, sizeof(saved), "was-%s", name);
	(void)unlinkat(dir, name, 0);
	(void)renameat(dir, saved, dir, name);
}

static void disk_restart(const struct disk *d, int how, bool undo)
{
	disk_lose("vault.bin.new", d->dirty_new, how);
	disk_lose("vault.bin", d->dirty_vault, how);
	disk_lose("vault.bak", d->dirty_bak, how);
	disk_lose("vault.old", d->dirty_old, how);
	if (undo) {
		disk_unrename("vault.bin", d->renamed_vault);
		disk_unrename("vault.bak", d->renamed_bak);
		disk_unrename("vault.old", d->renamed_old);
	}
}

static struct vault_io disk_io(struct disk *d)
{
	return (struct vault_io){.ctx = d,
				 .write = disk_write,
				 .fsync = disk_fsync,
				 .rename = disk_rename,
				 .create = disk_create};
}

enum change { ADD, REPLACE, DELETE, DROP, CHANGES };

static int change(struct vault *v, enum change c)
{
	switch (c) {
	case ADD:
		return set(v, "demo", "NEW", "new value");
	case REPLACE:
		return set(v, "demo", "KEY", "second value, a longer one");
	case DELETE:
		return vault_delete(v, "demo", "KEY", NULL);
	default:
		return vault_drop(v, "demo", NULL);
	}
}

static bool before_change(const struct vault *v)
{
	return holds(v, "demo", "KEY", "first value") && holds(v, "demo", "KEY2", "kept") &&
	       holds(v, "demo", "NEW", NULL) && holds(v, "other", "KEY", "of another");
}

static bool after_change(const struct vault *v, enum change c)
{
	bool drop = c == DROP;

	return holds(v, "demo", "KEY",
		     c == REPLACE          ? "second value, a longer one"
		     : c == DELETE || drop ? NULL
					   : "first value") &&
	       holds(v, "demo", "KEY2", drop ? NULL : "kept") &&
	       holds(v, "demo", "NEW", c == ADD ? "new value" : NULL) &&
	       holds(v, "other", "KEY", "of another");
}

/* A vault with KEY, KEY2 and another workspace's KEY in it, as it lies on the disk. Yours to free. */
static char *image_before(struct vault *v, size_t *ret_len)
{
	assert_int_equal(set(v, "demo", "KEY", "first value"), 0);
	assert_int_equal(set(v, "demo", "KEY2", "kept"), 0);
	assert_int_equal(set(v, "other", "KEY", "of another"), 0);
	vault_free(v);
	return slurp("vault.bin", ret_len);
}

/* What is done to a vault while the power goes, and who looks at what is there afterwards. */
struct outage {
	const char *image; /* the vault beforehand, and its copy */
	size_t len;
	int variants, steps_min;
	int (*act)(struct vault *v, const void *ctx);
	/* rc: act's. NULL: the vault cannot be opened. */
	struct vault *(*look)(int rc, const void *ctx, struct err *e);
	const void *ctx;
};

/* One run, with the power cut at d->cut. */
static void outage_once(const struct outage *o, struct disk *d, int how, bool undo)
{
	struct vault_io io = disk_io(d);
	struct vault *v = NULL;
	struct err e = {0};
	int rc;

	clean();
	put("vault.bin", o->image, o->len);
	put("vault.bak", o->image, o->len);
	assert_int_equal(vault_open(dir, by(key), &io, &v, &e), 0);
	rc = o->act(v, o->ctx);
	vault_free(v);
	disk_restart(d, how, undo);
	v = o->look(rc, o->ctx, &e);
	if (!v)
		fail_msg("cut %d, half %d, lost %d, undo %d: %s", d->cut, d->half, how, undo,
			 e.text);
	/* And the next change works, over whatever lies about. */
	assert_int_equal(set(v, "demo", "LATER", "x"), 0);
	assert_true(holds(v, "demo", "LATER", "x"));
	vault_free(v);
}

/* At every step, with bytes and names that were not durable kept or lost: the number of runs. */
static size_t outage(const struct outage *o)
{
	size_t runs = 0;
	int variant;

	for (variant = 0; variant < o->variants; variant++) {
		struct disk d = {0};
		int cut = 0;

		do {
			d = (struct disk){.cut = cut++, .half = variant & 1};
			outage_once(o, &d, variant / 4, variant & 2);
			runs++;
		} while (d.dead);
		assert_true(cut > o->steps_min);
	}
	clean();
	return runs;
}

static int act_change(struct vault *v, const void *ctx)
{
	enum change c = *(const enum change *)ctx;
	int rc = change(v, c);

	if (rc < 0 && !after_change(v, c))
		assert_true(before_change(v)); /* in memory too */
	return rc;
}

static struct vault *look_change(int rc, const void *ctx, struct err *e)
{
	enum change c = *(const enum change *)ctx;
	struct vault *v = NULL;

	if (vault_open(dir, by(key), NULL, &v, e) < 0)
		return NULL;
	if (!after_change(v, c)) {
		assert_true(before_change(v));
		assert_int_not_equal(rc, 0); /* what was answered 0 is kept */
	}
	return v;
}

static void test_power_cut(void **state)
{
	struct outage o = {.variants = 12, .steps_min = 10, .act = act_change, .look = look_change};
	char *image = image_before(create(NULL, 0), &o.len);
	size_t runs = 0;
	enum change c;

	(void)state;
	o.image = image;
	o.ctx = &c;
	for (c = 0; c < CHANGES; c++)
		runs += outage(&o);
	assert_true(runs > 400);
	free(image);
}

/* A vault in the making: there is none, or all of it. */
static void test_power_cut_create(void **state)
{
	int variant;

	(void)state;
	for (variant = 0; variant < 12; variant++) {
		struct disk d = {0};
		int cut = 0;

		do {
			struct vault_io io;
			struct vault *v = NULL;
			struct secret *s = text("signing"), *got = NULL;
			const struct vault_item item = {VAULTREC_SIGNING_KEY, s};
			int rc;

			clean();
			d = (struct disk){.cut = cut++, .half = variant & 1};
			io = disk_io(&d);
			rc = vault_create(dir, by(key), &item, 1, &io, &v, NULL);
			vault_free(v);
			v = NULL;
			disk_restart(&d, variant / 4, variant & 2);
			if (vault_open(dir, by(key), NULL, &v, NULL) == 0) {
				assert_int_equal(
					vault_read(v, VAULTREC_SIGNING_KEY, "", "", &got, NULL), 0);
				assert_true(secret_same(got, "signing", 7));
			} else {
				assert_int_not_equal(rc, 0);
				v = create(NULL, 0); /* nothing is in the way of another try */
			}
			secret_free(got);
			secret_free(s);
			vault_free(v);
		} while (d.dead);
	}
	clean();
}

/* The copy cannot be written: the change is kept, and it is said. */
static void test_no_backup(void **state)
{
	struct vault *v;

	(void)state;
	v = create(NULL, 0);
	assert_int_equal(unlinkat(dir, "vault.bak", 0), 0);
	assert_int_equal(mkdirat(dir, "vault.bak", 0700), 0);
	assert_int_equal(set(v, "demo", "KEY", "v"), 0);
	assert_non_null(strstr(vault_warning(v), "vault.bak"));
	assert_int_equal(unlinkat(dir, "vault.bak", AT_REMOVEDIR), 0);
	assert_int_equal(set(v, "demo", "KEY", "w"), 0);
	assert_null(vault_warning(v));
	v = reopen(v);
	assert_true(holds(v, "demo", "KEY", "w"));
	vault_free(v);
	clean();
}

static void test_not_a_file(void **state)
{
	struct vault *v = NULL;
	struct err e = {0};

	(void)state;
	assert_int_equal(symlinkat("/etc/passwd", dir, "vault.bin"), 0);
	assert_int_equal(vault_open(dir, by(key), NULL, &v, &e), -ELOOP);
	assert_null(create(NULL, -EEXIST));
	clean();
	assert_int_equal(mkfifoat(dir, "vault.bin", 0600), 0);
	assert_int_equal(vault_open(dir, by(key), NULL, &v, &e), -EBADMSG);
	clean();
	put("vault.bin", "", 0);
	assert_int_equal(vault_open(dir, by(key), NULL, &v, &e), -EBADMSG);
	clean();
}

/* ---- other ways to the master key ---- */

static const struct vaultrec_cost cheap = {.passes = 1, .kib = VAULTREC_KIB_MIN};

static const struct vault_key *by_kind(enum vaultrec_wrap_kind kind, const struct secret *bytes)
{
	static struct vault_key k;

	k = (struct vault_key){.kind = kind, .bytes = bytes, .cost = cheap};
	return &k;
}

static int opens(const struct vault_key *k, struct vault **ret)
{
	struct err e = {0};
	int rc = vault_open(dir, k, NULL, ret, &e);

	assert_true(rc == 0 || strlen(e.text) > 20);
	return rc;
}

static void test_rewrap(void **state)
{
	struct secret *phrase = text("correct horse battery staple"),
		      *wrong = text("correct horse battery stapl"), *credential = NULL,
		      *empty = NULL;
	struct vault *v = create(NULL, 0), *w = NULL;
	struct vault_key dear = {.kind = VAULTREC_WRAP_PASSPHRASE, .bytes = phrase};
	struct vault_facts facts;

	(void)state;
	assert_int_equal(secret_new(VAULT_KEY_LEN, &credential, NULL), 0);
	memset(secret_bytes(credential), 0x77, VAULT_KEY_LEN);
	assert_int_equal(set(v, "demo", "KEY", "value"), 0);
	assert_int_equal(vault_rewrap(v, by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), NULL), 0);
	assert_int_equal(set(v, "demo", "LATER", "too"), 0);
	v = vault_free(v);
	assert_int_equal(opens(by(key), &w), -ENOKEY);
	assert_int_equal(opens(by_kind(VAULTREC_WRAP_CREDENTIAL, key), &w), -ENOKEY);
	assert_int_equal(opens(by_kind(VAULTREC_WRAP_PASSPHRASE, wrong), &w), -EKEYREJECTED);
	assert_int_equal(opens(by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), &v), 0);
	assert_true(holds(v, "demo", "KEY", "value") && holds(v, "demo", "LATER", "too"));
	assert_int_equal(vault_peek(dir, &facts, NULL), 0);
	assert_int_equal(facts.wraps, 1);
	assert_int_equal(facts.wrap[0].kind, VAULTREC_WRAP_PASSPHRASE);
	assert_int_equal(facts.wrap[0].cost.passes, 1);
	assert_int_equal(facts.wrap[0].cost.kib, VAULTREC_KIB_MIN);
	assert_int_equal(facts.records, 5);
	/* Another cost, then others ways. */
	dear.cost = (struct vaultrec_cost){2, 16384};
	assert_int_equal(vault_rewrap(v, &dear, NULL), 0);
	vault_facts(v, &facts);
	assert_int_equal(facts.wrap[0].cost.kib, 16384);
	assert_int_equal(opens(by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), &w),
			 0); /* the file's cost counts */
	w = vault_free(w);
	assert_int_equal(vault_rewrap(v, by_kind(VAULTREC_WRAP_CREDENTIAL, credential), NULL), 0);
	assert_int_equal(opens(by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), &w), -ENOKEY);
	assert_int_equal(opens(by_kind(VAULTREC_WRAP_CREDENTIAL, key), &w), -EKEYREJECTED);
	assert_int_equal(opens(by_kind(VAULTREC_WRAP_CREDENTIAL, credential), &w), 0);
	w = vault_free(w);
	assert_int_equal(vault_rewrap(v, by(key), NULL), 0);
	v = reopen(v);
	assert_true(holds(v, "demo", "KEY", "value") && holds(v, "demo", "LATER", "too"));
	/* What cannot be a key or a cost changes nothing. */
	assert_int_equal(vault_rewrap(v, by(phrase), NULL), -EINVAL);
	dear.cost = (struct vaultrec_cost){0, 8192};
	assert_int_equal(vault_rewrap(v, &dear, NULL), -EINVAL);
	dear.cost = (struct vaultrec_cost){1, 8191};
	assert_int_equal(vault_rewrap(v, &dear, NULL), -EINVAL);
	dear.cost = (struct vaultrec_cost){4, 1048576};
	assert_int_equal(vault_rewrap(v, &dear, NULL), -EINVAL);
	v = reopen(v);
	vault_free(v);
	secret_free(phrase);
	secret_free(wrong);
	secret_free(credential);
	secret_free(empty);
	clean();
}

/* The cost stands in the file for everybody to read, and for nobody to change: lower, higher, beyond all means. */
static void test_changed_cost(void **state)
{
	static const struct {
		uint32_t passes, kib;
		int want;
	} costs[] = {
		{2, 8192, -EKEYREJECTED}, {1, 16384, -EKEYREJECTED},    {1, 8191, -EBADMSG},
		{0, 8192, -EBADMSG},      {UINT32_MAX, 8192, -EBADMSG}, {1, UINT32_MAX, -EBADMSG},
		{1, 1, -EBADMSG},         {4, 1048576, -EBADMSG}};
	struct secret *phrase = text("correct horse battery staple");
	struct vault *v = create(NULL, 0), *w = NULL;
	size_t n, i, at;
	char *good, *bad;

	(void)state;
	assert_int_equal(vault_rewrap(v, by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), NULL), 0);
	vault_free(v);
	good = slurp("vault.bin", &n);
	bad = malloc(n);
	at = 8 + 2 + VAULTREC_ID_LEN + 8 + 4 + 1 + 1 + 2; /* the first wrap's params */
	for (i = 0; i < ARRAY_SIZE(costs); i++) {
		struct wr x = wr_of((uint8_t *)bad + at, 8);

		memcpy(bad, good, n);
		wr_u32(&x, costs[i].passes);
		wr_u32(&x, costs[i].kib);
		put("vault.bin", bad, n); /* by accident */
		assert_int_equal(opens(by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), &w), -EBADMSG);
		fix_sum(bad, n); /* on purpose */
		put("vault.bin", bad, n);
		assert_int_equal(opens(by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), &w),
				 costs[i].want);
		assert_file("vault.bin", bad, n);
	}
	/* Every bit of the wrap, its salt and its seal. */
	for (i = 8 * (at - 3); i < 8 * (at + VAULTREC_PARAMS_LEN + 2 + VAULTREC_WRAPPED_LEN);
	     i += 29) {
		memcpy(bad, good, n);
		bad[i / 8] = (char)(bad[i / 8] ^ 1 << i % 8);
		fix_sum(bad, n);
		put("vault.bin", bad, n);
		assert_int_not_equal(opens(by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), &w), 0);
		assert_null(w);
	}
	put("vault.bin", good, n);
	assert_int_equal(opens(by_kind(VAULTREC_WRAP_PASSPHRASE, phrase), &w), 0);
	vault_free(w);
	secret_free(phrase);
	free(good);
	free(bad);
	clean();
}

static int act_rewrap(struct vault *v, const void *fresh)
{
	int rc = vault_rewrap(v, fresh, NULL);

	assert_true(before_change(v));
	return rc;
}

/* The old key opens the vault, or the new one, and all is in it. */
static struct vault *look_rewrap(int rc, const void *fresh, struct err *e)
{
	struct vault *v = NULL;

	if (vault_open(dir, by(key), NULL, &v, e) == 0)
		assert_int_not_equal(rc, 0);
	else if (vault_open(dir, fresh, NULL, &v, e) < 0)
		return NULL;
	assert_true(before_change(v));
	return v;
}

static void test_power_cut_rewrap(void **state)
{
	struct secret *other = NULL, *phrase = text("a passphrase");
	struct outage o = {.steps_min = 10, .act = act_rewrap, .look = look_rewrap};
	char *image = image_before(create(NULL, 0), &o.len);

	(void)state;
	assert_int_equal(secret_new(VAULT_KEY_LEN, &other, NULL), 0);
	o.image = image;
	o.variants = 12;
	o.ctx = by_kind(VAULTREC_WRAP_KEYFILE, other);
	(void)outage(&o);
	o.variants = 2; /* a passphrase takes its time */
	o.ctx = by_kind(VAULTREC_WRAP_PASSPHRASE, phrase);
	(void)outage(&o);
	secret_free(other);
	secret_free(phrase);
	free(image);
}

static void test_restore(void **state)
{
	struct secret *other = NULL;
	struct vault *v = create(NULL, 0), *foreign = NULL;
	size_t len, n, i;
	const uint8_t *image = vault_image(v, &len);
	char *backup, *bad, *now;

	(void)state;
	assert_int_equal(secret_new(VAULT_KEY_LEN, &other, NULL), 0);
	assert_int_equal(set(v, "demo", "KEY", "first value"), 0);
	image = vault_image(v, &len);
	backup = malloc(len);
	memcpy(backup, image, len);
	assert_int_equal(set(v, "demo", "KEY", "second value"), 0);
	assert_int_equal(set(v, "demo", "NEW", "new"), 0);
	/* The way in is another by now: a backup of before is good all the same, and does not bring the old key back. */
	assert_int_equal(vault_rewrap(v, by(other), NULL), 0);
	now = slurp("vault.bin", &n);
	bad = malloc(len);
	for (i = 0; i < 8 * len; i += 5) {
		memcpy(bad, backup, len);
		bad[i / 8] = (char)(bad[i / 8] ^ 1 << i % 8);
		assert_int_equal(vault_restore(v, (uint8_t *)bad, len, NULL), -EBADMSG);
		fix_sum(bad, len);
		if (memcmp(bad, backup, len) != 0)
			assert_int_not_equal(vault_restore(v, (uint8_t *)bad, len, NULL), 0);
	}
	for (i = 0; i < len; i++)
		assert_int_equal(vault_restore(v, (uint8_t *)backup, i, NULL), -EBADMSG);
	assert_file("vault.bin", now, n);
	assert_int_equal(faccessat(dir, "vault.old", F_OK, 0), -1);
	assert_int_equal(vault_restore(v, (uint8_t *)backup, len, NULL), 0);
	assert_true(holds(v, "demo", "KEY", "first value") && holds(v, "demo", "NEW", NULL));
	assert_file("vault.old", now, n);
	v = vault_free(v);
	assert_int_equal(opens(by(key), &v), -EKEYREJECTED);
	assert_int_equal(opens(by(other), &v), 0);
	assert_true(holds(v, "demo", "KEY", "first value") && holds(v, "demo", "NEW", NULL));
	assert_int_equal(vault_generation(v), 6); /* newer than all there were */
	/* What was kept is a backup too. */
	assert_int_equal(vault_restore(v, (uint8_t *)now, n, NULL), 0);
	assert_true(holds(v, "demo", "KEY", "second value") && holds(v, "demo", "NEW", "new"));
	vault_free(v);
	clean();
	foreign = create(NULL, 0);
	assert_int_equal(vault_restore(foreign, (uint8_t *)backup, len, NULL), -EXDEV);
	vault_free(foreign);
	secret_free(other);
	free(backup);
	free(bad);
	free(now);
	clean();
}

struct backup {
	char *p;
	size_t len;
	const struct outage *o;
};

static int act_restore(struct vault *v, const void *ctx)
{
	const struct backup *b = ctx;

	return vault_restore(v, (uint8_t *)b->p, b->len, NULL);
}

static struct vault *look_restore(int rc, const void *ctx, struct err *e)
{
	const struct backup *b = ctx;
	struct vault *v = NULL;

	if (vault_open(dir, by(key), NULL, &v, e) < 0)
		return NULL;
	if (holds(v, "demo", "KEY", "of the backup"))
		assert_file("vault.old", b->o->image, b->o->len); /* what was replaced is there */
	else
		assert_true(rc != 0 && before_change(v));
	return v;
}

static void test_power_cut_restore(void **state)
{
	struct outage o = {
		.variants = 12, .steps_min = 15, .act = act_restore, .look = look_restore};
	struct vault *v = create(NULL, 0);
	struct backup b = {.o = &o};
	const uint8_t *p;
	char *image;

	(void)state;
	assert_int_equal(set(v, "demo", "KEY", "of the backup"), 0);
	p = vault_image(v, &b.len);
	b.p = malloc(b.len);
	memcpy(b.p, p, b.len);
	image = image_before(v, &o.len);
	o.image = image;
	o.ctx = &b;
	(void)outage(&o);
	free(image);
	free(b.p);
}

static int setup(void **state)
{
	(void)state;
	if (sodium_init() < 0 || !mkdtemp(dir_path) || secret_new(VAULT_KEY_LEN, &key, NULL) < 0)
		return -1;
	memset(secret_bytes(key), 0x42, VAULT_KEY_LEN);
	dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	clean();
	secret_free(key);
	own_close(&dir);
	return rmdir(dir_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_wrong_key),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_power_cut),
		cmocka_unit_test(test_power_cut_create),
		cmocka_unit_test(test_no_backup),
		cmocka_unit_test(test_not_a_file),
		cmocka_unit_test(test_rewrap),
		cmocka_unit_test(test_changed_cost),
		cmocka_unit_test(test_power_cut_rewrap),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_power_cut_restore),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
