/* keeper_prints.c: the fingerprints of a workspace's values, made anew and handed to the proxies whenever a document, a
 * value or the vault itself has changed: by administration, never by a request. Only values in the vault have some:
 * what another place holds is not read before a verdict asks for it.
 */
#include "keeper_int.h"

#include "log.h"
#include "parts.h"
#include "prints.h"

#include <sodium.h>
#include <string.h>

/* One value, or the parts of one that are secret on their own. */
static void prints_add(struct wr *w, const uint8_t key[PRINTS_KEY], const uint8_t *p, size_t len)
{
	struct prints_item it;

	if (len < PRINTS_MIN)
		return;
	it = prints_of(key, p, len);
	wr_bytes(w, &it, sizeof(it));
}

/* Identifiers stand beside a key and are no secret. */
static bool prints_public(const char *part)
{
	size_t n = part ? strlen(part) : 0;

	return n > 3 && strcmp(part + n - 3, "_id") == 0;
}

static void prints_add_secret(struct keeper *k, struct wr *w, const uint8_t key[PRINTS_KEY],
			      const char *workspace, const struct rules_secret *s)
{
	auto_(secret) struct secret *value = NULL;
	auto_parts struct parts parts = {0};
	struct err e = {0};
	bool required;
	size_t i;

	if (!vault_has(k->vault, workspace, s->name) ||
	    vault_read(k->vault, VAULTREC_SECRET, workspace, s->name, &value, &e) < 0)
		return;
	if (s->kind == KIND_VALUE) {
		prints_add(w, key, secret_view(value), secret_len(value));
		return;
	}
	if (parts_open(s->kind, value, &parts, &e) < 0)
		return;
	for (i = 0; i < KIND_PARTS_MAX; i++)
		if (parts.at[i].p && !prints_public(kind_part(s->kind, i, &required)))
			prints_add(w, key, parts.at[i].p, parts.at[i].len);
}

static void prints_tell(struct keeper *k, struct keeper_proxy *p, const struct rpc_prints *note,
			const struct wr *w)
{
	if (p->peer.fd < 0 ||
	    rpc_send(p->peer.fd, RPC_PRINTS, 0, note, sizeof(*note), w->p, w->len, -1) == 0)
		return;
	log_error("proxy%u does not listen; its channel is closed", p->peer.number);
	keeper_proxy_end(k, p);
}

void keeper_prints(struct keeper *k, const char *workspace, struct keeper_proxy *to)
{
	struct rules **doc = keeper_doc(k, workspace);
	auto_free void *bytes = malloc(RPC_TAIL_MAX);
	struct wr w = wr_of(bytes, RPC_TAIL_MAX);
	struct rpc_prints note = {{0}};
	uint8_t key[PRINTS_KEY];
	uint32_t i;
	size_t p;

	if (!doc || !k->vault || !bytes)
		return;
	randombytes_buf(key, sizeof(key));
	wr_bytes(&w, key, sizeof(key));
	for (i = 0; i < (*doc)->secret_count && backend_is_file(&k->backends, workspace); i++)
		prints_add_secret(k, &w, key, workspace, &(*doc)->secrets[i]);
	if (w.full)
		return;
	memcpy(note.workspace, (*doc)->workspace, sizeof(note.workspace));
	for (p = 0; p < ARRAY_SIZE(k->proxies); p++)
		if (!to || to == &k->proxies[p])
			prints_tell(k, &k->proxies[p], &note, &w);
}

void keeper_prints_all(struct keeper *k, struct keeper_proxy *to)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(k->docs); i++)
		if (k->docs[i])
			keeper_prints(k, k->docs[i]->workspace, to);
}
