/* upstream_known.c: what is remembered of upstreams: TLS sessions to resume, and which HTTP they speak. See upstream.h,
 * upstream_in.h.
 */
#include "upstream_in.h"

#include <string.h>

/* ---- TLS sessions ---- */

static struct upstream_session **upstream_session_at(struct upstreams *p, const struct upstream_key *k)
{
	return &p->sessions[upstream_hash(k) % UPSTREAM_SESSIONS];
}

const struct tls_session *upstream_session_of(struct upstreams *p, const struct upstream_key *k)
{
	const struct upstream_session *s = *upstream_session_at(p, k);

	return s && p->loop->now_ms < s->until_ms && upstream_same(&s->key, k) ? s->session : NULL;
}

void upstream_keep_session(struct upstreams *p, const struct upstream_key *key, struct tls *tls)
{
	struct upstream_session **at = upstream_session_at(p, key);
	struct tls_session *session = tls ? tls_session(tls) : NULL;

	if (!session)
		return;
	if (!*at)
		*at = calloc(1, sizeof(**at));
	if (!*at) {
		tls_session_free(session);
		return;
	}
	tls_session_free((*at)->session);
	(*at)->session = session;
	(*at)->key = *key;
	(*at)->until_ms = p->loop->now_ms + UPSTREAM_SESSION_MS;
}

/* ---- which HTTP ---- */

static struct upstream_hint *upstream_hint_at(struct upstreams *p, const struct upstream_key *k, uint32_t *ret_of)
{
	struct upstream_key at = {.port = k->port};

	memcpy(at.host, k->host, sizeof(at.host));
	*ret_of = upstream_hash(&at);
	return &p->hints[*ret_of % UPSTREAM_HINTS];
}

int upstream_hint(struct upstreams *p, const struct upstream_key *k)
{
	uint32_t of;
	const struct upstream_hint *h = upstream_hint_at(p, k, &of);

	return h->of == of ? (int)h->says : HINT_NONE;
}

void upstream_hint_is(struct upstreams *p, const struct upstream_key *k, int says)
{
	uint32_t of;
	struct upstream_hint *h = upstream_hint_at(p, k, &of);

	h->of = of;
	h->says = says;
}
