/* vault.h: the vault: one file `vault.bin` in the keeper's own directory, and `vault.bak`, a second copy of
 * the same content.
 *
 * Names are in memory, values only sealed; vault_read() opens one record. Every change writes a whole
 * new file, makes it durable, puts it in the old one's place and makes that durable, before it answers
 * 0: whatever moment the power fails, `vault.bin` is the old content or the new. A file that does not
 * verify is never touched.
 *
 * The values are sealed under a master key, which the file holds wrapped: under a key file's or a credential's
 * 32 bytes, or under a passphrase (vaultrec.h). Another wrap is another file, put in place like any other change.
 */
#ifndef VAULT_H
#define VAULT_H

#include "err.h"
#include "secret.h"
#include "vaultdisk.h"
#include "vaultlock.h"
#include "vaultrec.h"

struct vault;

/* What can be known of a file without a key. */
struct vault_facts {
	uint64_t generation;
	uint32_t records; /* the vault's own three included */
	uint32_t wraps;
	struct {
		uint8_t kind;
		struct vaultrec_cost cost; /* PASSPHRASE */
	} wrap[VAULTREC_WRAPS_MAX];
};

/* One value that a new vault starts with. */
struct vault_item {
	enum vaultrec_kind kind;
	const struct secret *value;
};

/* Both take a dup of dirfd; the key is not kept.
 * create: all items in one write, so there is no half-made vault; -EEXIST when there is a file.
 * open: -ENOENT no vault; -EBADMSG damaged, -EKEYREJECTED another key, -ENOKEY no wrap of this kind, -ENOTSUP a
 * newer format: each with a sentence that says what to do. */
int vault_create(int dirfd, const struct vault_key *key, const struct vault_item *items,
		 size_t count, const struct vault_io *io, struct vault **ret,
		 struct err *e) must_check;
int vault_open(int dirfd, const struct vault_key *key, const struct vault_io *io,
	       struct vault **ret, struct err *e) must_check;
struct vault *vault_free(struct vault *v);
OWN_CLEANUP(vault, struct vault, vault_free)

/* Of the file as it lies there; of an open vault. */
int vault_peek(int dirfd, struct vault_facts *ret, struct err *e) must_check;
void vault_facts(const struct vault *v, struct vault_facts *ret);

/* From now on this key alone opens it. */
int vault_rewrap(struct vault *v, const struct vault_key *key, struct err *e) must_check;

/* The whole file, sealed as it is: what a backup is. Good until the next change. */
const uint8_t *vault_image(const struct vault *v, size_t *ret_len);
/* Puts the values of a backup of this vault in place of all there are; wraps stay. The file as it was is kept as
 * vault.old. -EBADMSG damaged, -EXDEV another vault's: nothing was touched. */
int vault_restore(struct vault *v, const uint8_t *image, size_t len, struct err *e) must_check;

/* workspace and name are "" for every kind but VAULTREC_SECRET. */
int vault_set(struct vault *v, enum vaultrec_kind kind, const char *workspace, const char *name,
	      const struct secret *value, struct err *e) must_check;
int vault_delete(struct vault *v, const char *workspace, const char *name,
		 struct err *e) must_check; /* -ENOENT */
/* Every secret of the workspace, in one write; 0 also when there is none. */
int vault_drop(struct vault *v, const char *workspace, struct err *e) must_check;

/* -ENOENT, or -EBADMSG when the record does not open. */
int vault_read(const struct vault *v, enum vaultrec_kind kind, const char *workspace,
	       const char *name, struct secret **ret, struct err *e) must_check;
bool vault_has(const struct vault *v, const char *workspace, const char *name);

/* The secrets' names of a workspace in order: *at starts at 0. NULL at the end. */
const char *vault_name(const struct vault *v, const char *workspace, size_t *at);

/* Counts the file's changes: 1 for a new one. */
uint64_t vault_generation(const struct vault *v);

/* What went wrong after the last change was already safe (the copy vault.bak): NULL, or a sentence. */
const char *vault_warning(const struct vault *v);

#endif
