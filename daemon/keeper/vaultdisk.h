/* vaultdisk.h: the vault's directory: files that are put in place whole.
 *
 * A new file is written beside, made durable, renamed over the old one, and the directory made durable: whatever
 * moment the power fails, a name leads to the old bytes or to the new ones.
 */
#ifndef VAULTDISK_H
#define VAULTDISK_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VAULT_FILE   "vault.bin"
#define VAULT_BACKUP "vault.bak"
#define VAULT_OLD    "vault.old" /* what vault_restore() replaced */

/* The four calls that change the disk, so that a test can cut the power at each. NULL: the real ones. */
struct vault_io {
	void *ctx;
	ssize_t (*write)(void *ctx, int fd, const void *p, size_t len);
	int (*fsync)(void *ctx, int fd);
	int (*rename)(void *ctx, int dirfd, const char *from,
		      const char *to);                         /* 0 or -1 with errno */
	int (*create)(void *ctx, int dirfd, const char *name); /* fd of an empty new file, or -1 */
};

struct vaultdisk {
	int dirfd; /* owned; whoever holds the struct closes it */
	struct vault_io io;
};

/* Takes a dup of dirfd. */
int vaultdisk_open(struct vaultdisk *d, int dirfd, const struct vault_io *io,
		   struct err *e) must_check;

/* Replaces one file. *ret_there: name holds the new bytes now, even when this answers an error. */
int vaultdisk_put(const struct vaultdisk *d, const char *name, const uint8_t *p, size_t len,
		  bool *ret_there) must_check;

/* Neither vault nor copy is there; false also when that cannot be known. */
bool vaultdisk_empty(const struct vaultdisk *d);

/* Reads the vault, malloc'ed: -ENOENT, or -EBADMSG when it is no file that could be one; each with a sentence. */
int vaultdisk_load(int dirfd, char **ret, size_t *ret_len, struct err *e) must_check;

#endif
