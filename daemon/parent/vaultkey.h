/* vaultkey.h: the parent's side of the vault's keys: where they come from, and which is the right one.
 *
 *	<state_dir>/vault.key		the key file, root's alone
 *	<state_dir>/vault.key.new	the next one, until the vault is locked with it
 *	<state_dir>/vault.seen		the newest change of the vault that there was: an older file is refused
 *	$CREDENTIALS_DIRECTORY/agentsecrets.vault	systemd's credential (LoadCredential=, LoadCredentialEncrypted=)
 *
 * A passphrase is nowhere: it comes through a pipe, from `vault unlock`, and the parent does not read it.
 *
 * Whatever moment the power fails in while the vault is locked with another key file, one of the two files opens it, and
 * the next start finds out which.
 */
#ifndef VAULTKEY_H
#define VAULTKEY_H

#include "parent.h"

#define VAULTKEY_FILE       "vault.key"
#define VAULTKEY_NEXT       "vault.key.new"
#define VAULTKEY_SEEN       "vault.seen"
#define VAULTKEY_CREDENTIAL "agentsecrets.vault"

/* Is there a vault: its file, its copy, or a key for one. */
bool vaultkey_there(const struct parent *p);

/* The vault's state, from the keeper. */
int vaultkey_state(struct parent *p, struct rpc_vault_state *ret, struct err *e) must_check;

/* Opens the vault with what lies here. p->locked: it needs a passphrase, which is no error. */
int vaultkey_open(struct parent *p, struct err *e) must_check;
/* With the passphrase that fd yields. */
int vaultkey_unlock(struct parent *p, int fd, struct err *e) must_check;

/* A new key file, root's alone, under its name of the meantime; a read-only descriptor of it. */
int vaultkey_stage(const struct parent *p, struct err *e) must_check;
/* The vault is locked with it: it takes its place. */
int vaultkey_settle(const struct parent *p, struct err *e) must_check;
/* The vault is locked with something else: no key file is left. */
int vaultkey_drop(const struct parent *p, struct err *e) must_check;
/* systemd's credential; -ENOENT with a sentence. */
int vaultkey_credential(struct err *e) must_check;

/* A vault is made: whatever was seen was of another one. */
void vaultkey_unseen(struct parent *p);
/* What the keeper said of the vault's change; written down when it is the newest. */
void vaultkey_seen(struct parent *p, uint64_t generation);

#endif
