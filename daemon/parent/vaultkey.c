/* vaultkey.c: see vaultkey.h. */
#include "vaultkey.h"

#include "fdio.h"
#include "log.h"
#include "proc.h"
#include "vaultrec.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

static bool vaultkey_has(int dir, const char *name)
{
	struct stat st;

	return dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool vaultkey_there(const struct parent *p)
{
	return vaultkey_has(p->state_dir, VAULTKEY_FILE) ||
	       vaultkey_has(p->vault_dir, "vault.bin") || vaultkey_has(p->vault_dir, "vault.bak");
}

int vaultkey_state(struct parent *p, struct rpc_vault_state *ret, struct err *e)
{
	auto_free char *tail = NULL;
	int rc = proc_ask(p, RPC_VAULT_STATE, NULL, 0, -1, sizeof(*ret), &tail, NULL, e);

	if (rc == 0)
		memcpy(ret, tail, sizeof(*ret));
	return rc;
}

/* ---- what was seen ---- */

static uint64_t vaultkey_seen_before(const struct parent *p)
{
	auto_free char *text = NULL;
	size_t n;

	if (fdio_read_file(p->state_dir, VAULTKEY_SEEN, 32, &text, &n) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

void vaultkey_seen(struct parent *p, uint64_t generation)
{
	char text[32];
	int n, rc;

	if (generation <= p->vault_seen)
		return;
	n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)generation);
	rc = fdio_replace(p->state_dir, VAULTKEY_SEEN, text, (size_t)n, 0600);
	if (rc < 0)
		log_warn("cannot write %s/" VAULTKEY_SEEN
			 " (%s): an older copy of the vault would not be noticed",
			 p->cfg.state_dir, strerror(-rc));
	p->vault_seen = generation;
}

void vaultkey_unseen(struct parent *p)
{
	(void)unlinkat(p->state_dir, VAULTKEY_SEEN, 0);
	p->vault_seen = 0;
}

/* ---- key files ---- */

static int vaultkey_file(const struct parent *p, const char *name, struct err *e)
{
	auto_close int fd = openat(p->state_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		return err_set(e, -errno, "cannot open %s/%s (%s); restore it from your backup",
			       p->cfg.state_dir, name, strerror(errno));
	if (fstat(fd, &st) < 0 || st.st_uid != 0 || (st.st_mode & 077) || !S_ISREG(st.st_mode))
		return err_set(e, -EPERM,
			       "%s/%s must belong to root and be closed to others (chmod 600)",
			       p->cfg.state_dir, name);
	return take_fd(&fd);
}

int vaultkey_stage(const struct parent *p, struct err *e)
{
	uint8_t key[VAULTREC_KEY_LEN];
	int rc = getrandom(key, sizeof(key), 0) == sizeof(key) ? 0 : -EIO;

	if (rc == 0)
		rc = fdio_replace(p->state_dir, VAULTKEY_NEXT, key, sizeof(key), 0600);
	explicit_bzero(key, sizeof(key));
	if (rc < 0)
		return err_set(e, rc, "cannot write %s/" VAULTKEY_NEXT ": %s; nothing was changed",
			       p->cfg.state_dir, strerror(-rc));
	return vaultkey_file(p, VAULTKEY_NEXT, e);
}

int vaultkey_settle(const struct parent *p, struct err *e)
{
	if (renameat(p->state_dir, VAULTKEY_NEXT, p->state_dir, VAULTKEY_FILE) < 0 ||
	    fsync(p->state_dir) < 0)
		return err_set(e, -errno,
			       "the vault is locked with %s/" VAULTKEY_NEXT
			       ", which could not be renamed: %s; it is used "
			       "as it is",
			       p->cfg.state_dir, strerror(errno));
	return 0;
}

int vaultkey_drop(const struct parent *p, struct err *e)
{
	static const char *const names[] = {VAULTKEY_FILE, VAULTKEY_NEXT};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (unlinkat(p->state_dir, names[i], 0) < 0 && errno != ENOENT)
			return err_set(
				e, -errno,
				"the vault is locked otherwise now, but %s/%s cannot be removed: %s",
				p->cfg.state_dir, names[i], strerror(errno));
	return fsync(p->state_dir) < 0 ? err_set(e, -errno, "fsync: %s", strerror(errno)) : 0;
}

int vaultkey_credential(struct err *e)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char path[4096] = "";
	int fd;

	if (dir &&
	    snprintf(path, sizeof(path), "%s/" VAULTKEY_CREDENTIAL, dir) >= (int)sizeof(path))
		path[0] = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 &&
	    errno == ENOENT) /* where its file is missing, systemd says nothing and starts us */
		return err_set(
			e, -ENOENT,
			"systemd has given the daemon no credential " VAULTKEY_CREDENTIAL
			": see LoadCredentialEncrypted= in agentsecretsd.service, and whether the file is in "
			"/etc/credstore.encrypted. Nothing was touched");
	return fd < 0 ? err_set(e, -errno, "cannot open the credential %s: %s", path,
				strerror(errno))
		      : fd;
}

/* ---- opening ---- */

static int vaultkey_try(struct parent *p, enum vaultrec_wrap_kind kind, int fd, struct err *e)
{
	struct rpc_admin admin = {.kind = kind, .seen = p->vault_seen};

	return proc_ask(p, RPC_VAULT_OPEN, &admin, sizeof(admin), fd, 0, NULL, NULL, e);
}

static int vaultkey_try_credential(struct parent *p, struct err *e)
{
	auto_close int fd = vaultkey_credential(e);

	return fd < 0 ? fd : vaultkey_try(p, VAULTREC_WRAP_CREDENTIAL, fd, e);
}

static int vaultkey_try_file(struct parent *p, const char *name, struct err *e)
{
	auto_close int fd = vaultkey_file(p, name, e);

	return fd < 0 ? fd : vaultkey_try(p, VAULTREC_WRAP_KEYFILE, fd, e);
}

/* The key file; else the next one, which a power cut kept from its place. What is left over otherwise is removed. */
static int vaultkey_try_files(struct parent *p, struct err *e)
{
	struct err second = {0};
	int rc = vaultkey_try_file(p, VAULTKEY_FILE, e);

	if (rc == -EKEYREJECTED || rc == -ENOENT) {
		if (!vaultkey_has(p->state_dir, VAULTKEY_NEXT) ||
		    vaultkey_try_file(p, VAULTKEY_NEXT, &second) < 0)
			return rc;
		log_warn("%s/" VAULTKEY_NEXT " opens the vault, and takes the key file's place",
			 p->cfg.state_dir);
		return vaultkey_settle(p, e);
	}
	if (rc == 0 && unlinkat(p->state_dir, VAULTKEY_NEXT, 0) < 0 && errno != ENOENT)
		log_warn("cannot remove %s/" VAULTKEY_NEXT ", which opens nothing",
			 p->cfg.state_dir);
	return rc;
}

static bool vaultkey_wrapped(const struct rpc_vault_state *s, uint32_t kind)
{
	uint8_t i;

	for (i = 0; i < s->wraps && i < RPC_VAULT_WRAPS_MAX; i++)
		if (s->wrap[i].kind == kind)
			return true;
	return false;
}

int vaultkey_open(struct parent *p, struct err *e)
{
	struct rpc_vault_state s;
	uint64_t seen = vaultkey_seen_before(p);
	int rc = vaultkey_state(p, &s, e);

	if (p->vault_seen < seen)
		p->vault_seen = seen;
	if (rc < 0)
		return rc;
	p->locked = false;
	if (vaultkey_wrapped(&s, VAULTREC_WRAP_PASSPHRASE)) {
		p->locked = true;
		/* A rewrap that was cut short before this. */
		if (s.wraps == 1)
			return vaultkey_drop(p, e);
		return 0;
	}
	if (vaultkey_wrapped(&s, VAULTREC_WRAP_CREDENTIAL)) {
		rc = vaultkey_try_credential(p, e);
		return rc < 0 ? rc : vaultkey_drop(p, e);
	}
	return vaultkey_try_files(p, e);
}

int vaultkey_unlock(struct parent *p, int fd, struct err *e)
{
	int rc = vaultkey_try(p, VAULTREC_WRAP_PASSPHRASE, fd, e);

	if (rc == 0)
		p->locked = false;
	return rc;
}
