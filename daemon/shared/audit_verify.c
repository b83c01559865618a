/* audit_verify.c: the log's chains, from their first line to their last; see audit.h.
 *
 * A line is read from its end, where the fields are ours and of fixed form; what stands before them, strings chosen by
 * clients among it, cannot be mistaken for them. What a chain cannot show is that its last lines are missing: head lines of
 * another chain, and whoever asked the writers, say how far it must come (heads.h).
 */
#include "audit_in.h"

#include <stdlib.h>

#define AUDIT_CHAINS_MAX (1u << 20)

bool audit_writer(const char *name)
{
	return audit_writer_ok(name, strnlen(name, AUDIT_WRITER_MAX));
}

struct audit_chain {
	char writer[AUDIT_WRITER_MAX];
	uint8_t epoch[AUDIT_EPOCH_LEN];
	uint8_t key[AUDIT_KEY_LEN];
	uint8_t mac[AUDIT_MAC_LEN];
	uint64_t n; /* of the last line that was good */
	bool broken;
};

/* How far a chain must come. */
struct audit_need {
	char writer[AUDIT_WRITER_MAX];
	uint8_t epoch[AUDIT_EPOCH_LEN];
	uint64_t n;
	bool here; /* it must be in this log */
};

struct audit_verify {
	audit_key_fn *fn;
	void *ctx;
	struct audit_chain *chains;
	size_t count, room;
	struct audit_need *needs;
	size_t need_count, need_room;
};

/* What stands at a line's end. */
struct audit_tail {
	char writer[AUDIT_WRITER_MAX];
	uint8_t epoch[AUDIT_EPOCH_LEN];
	uint8_t mac[AUDIT_MAC_LEN];
	uint64_t n;
	size_t covered; /* bytes that the mac is over */
	struct audit_need head; /* n 0: it is no head line */
};

struct audit_verify *audit_verify_new(audit_key_fn *fn, void *ctx)
{
	struct audit_verify *v = sodium_init() < 0 ? NULL : calloc(1, sizeof(*v));

	if (v) {
		v->fn = fn;
		v->ctx = ctx;
	}
	return v;
}

struct audit_verify *audit_verify_free(struct audit_verify *v)
{
	if (!v)
		return NULL;
	if (v->chains)
		sodium_memzero(v->chains, v->room * sizeof(*v->chains));
	free(v->chains);
	free(v->needs);
	free(v);
	return NULL;
}

/* Takes `want` off the end of line[0..*len). */
static bool audit_back(const char *line, size_t *len, const char *want)
{
	size_t n = strlen(want);

	if (*len < n || memcmp(line + *len - n, want, n) != 0)
		return false;
	*len -= n;
	return true;
}

/* Takes lower-case hex off the end: the one form we write. */
static bool audit_back_hex(const char *line, size_t *len, uint8_t *out, size_t bytes)
{
	char again[2 * AUDIT_MAC_LEN + 1];
	size_t got = 0;

	if (*len < 2 * bytes ||
	    sodium_hex2bin(out, bytes, line + *len - 2 * bytes, 2 * bytes, NULL, &got, NULL) != 0 ||
	    got != bytes)
		return false;
	(void)sodium_bin2hex(again, sizeof(again), out, bytes);
	if (memcmp(again, line + *len - 2 * bytes, 2 * bytes) != 0)
		return false;
	*len -= 2 * bytes;
	return true;
}

/* Takes a decimal number off the end. */
static bool audit_back_number(const char *line, size_t *len, uint64_t *ret)
{
	uint64_t v = 0;
	size_t at = *len, i;

	while (at > 0 && line[at - 1] >= '0' && line[at - 1] <= '9')
		at--;
	if (at == *len || *len - at > 19)
		return false;
	for (i = at; i < *len; i++)
		v = v * 10 + (uint64_t)(line[i] - '0');
	*len = at;
	*ret = v;
	return true;
}

static bool audit_back_writer(const char *line, size_t *len, char out[AUDIT_WRITER_MAX])
{
	size_t at = *len;

	while (at > 0 && line[at - 1] != '"')
		at--;
	if (!audit_writer_ok(line + at, *len - at))
		return false;
	memcpy(out, line + at, *len - at);
	out[*len - at] = '\0';
	*len = at;
	return true;
}

/* What a head line says. */
static void audit_head_parse(const char *line, size_t len, struct audit_need *need)
{
	struct audit_need h = {0};

	if (audit_back_number(line, &len, &h.n) && audit_back(line, &len, "\",\"of_n\":") &&
	    audit_back_hex(line, &len, h.epoch, sizeof(h.epoch)) && audit_back(line, &len, "\",\"of_e\":\"") &&
	    audit_back_writer(line, &len, h.writer) && audit_back(line, &len, ",\"of\":\""))
		*need = h;
}

static bool audit_tail_parse(const char *line, size_t len, struct audit_tail *t)
{
	if (len > AUDIT_LINE_MAX || memchr(line, '\n', len) || !audit_back(line, &len, "\"}") ||
	    !audit_back_hex(line, &len, t->mac, sizeof(t->mac)) ||
	    !audit_back(line, &len, ",\"mac\":\""))
		return false;
	t->covered = len;
	if (!audit_back_number(line, &len, &t->n) || !audit_back(line, &len, "\",\"n\":") ||
	    !audit_back_hex(line, &len, t->epoch, sizeof(t->epoch)) ||
	    !audit_back(line, &len, "\",\"e\":\"") || !audit_back_writer(line, &len, t->writer) ||
	    !audit_back(line, &len, ",\"w\":\""))
		return false;
	audit_head_parse(line, len, &t->head);
	return true;
}

/* The chain of a line, from the newest back: those that still grow are the last ones. */
static struct audit_chain *audit_chain_find(struct audit_verify *v, const char *writer, const uint8_t epoch[AUDIT_EPOCH_LEN])
{
	size_t i;

	for (i = v->count; i-- > 0;)
		if (memcmp(v->chains[i].epoch, epoch, AUDIT_EPOCH_LEN) == 0 && strcmp(v->chains[i].writer, writer) == 0)
			return &v->chains[i];
	return NULL;
}

static int audit_need_add(struct audit_verify *v, const struct audit_need *need)
{
	size_t room = v->need_room ? 2 * v->need_room : 16;
	struct audit_need *more;

	if (v->need_count == v->need_room) {
		more = reallocarray(v->needs, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		v->needs = more;
		v->need_room = room;
	}
	v->needs[v->need_count++] = *need;
	return 0;
}

static int audit_chain_room(struct audit_verify *v)
{
	size_t room = v->room ? 2 * v->room : 16;
	struct audit_chain *more;

	if (v->count < v->room)
		return 0;
	if (room > AUDIT_CHAINS_MAX)
		return -E2BIG;
	more = calloc(room, sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (v->chains) {
		memcpy(more, v->chains, v->count * sizeof(*more));
		sodium_memzero(v->chains, v->room * sizeof(*more));
	}
	free(v->chains);
	v->chains = more;
	v->room = room;
	return 0;
}

/* A chain that was not seen yet; its key comes from whoever knows it. */
static int audit_chain_add(struct audit_verify *v, const struct audit_tail *t,
			   struct audit_chain **ret, struct err *e)
{
	struct audit_chain *c;
	int rc = audit_chain_room(v);

	if (rc < 0)
		return err_set(e, rc, "too many writers in this log");
	c = &v->chains[v->count];
	*c = (struct audit_chain){0};
	memcpy(c->writer, t->writer, sizeof(c->writer));
	memcpy(c->epoch, t->epoch, sizeof(c->epoch));
	rc = v->fn(v->ctx, c->writer, c->epoch, c->key);
	if (rc < 0)
		return err_set(e, rc, "cannot get the key of writer %s: %s", t->writer,
			       strerror(-rc));
	v->count++;
	*ret = c;
	return 0;
}

static int audit_order_error(const struct audit_chain *c, const struct audit_tail *t, struct err *e)
{
	unsigned long long n = t->n, want = c->n + 1;

	if (t->n <= c->n)
		return err_set(e, -EBADMSG,
			       "%s line %llu comes after line %llu: it was repeated or moved",
			       t->writer, n, want - 1);
	if (want == n - 1)
		return err_set(e, -EBADMSG, "%s line %llu is missing before line %llu", t->writer,
			       want, n);
	return err_set(e, -EBADMSG, "%s lines %llu to %llu are missing before line %llu", t->writer,
		       want, n - 1, n);
}

int audit_verify_line(struct audit_verify *v, const char *line, size_t len, struct err *e)
{
	struct audit_chain *c;
	struct audit_tail t = {0};
	int rc;

	if (!audit_tail_parse(line, len, &t))
		return err_set(e, -EBADMSG, "a line that no writer of this log made");
	c = audit_chain_find(v, t.writer, t.epoch);
	if (!c) {
		rc = audit_chain_add(v, &t, &c, e);
		if (rc < 0)
			return rc;
	}
	if (c->broken)
		return err_set(e, -EBADMSG, "%s line %llu follows one that does not verify",
			       t.writer, (unsigned long long)t.n);
	c->broken = true; /* until this line has earned the contrary */
	if (t.n != c->n + 1)
		return audit_order_error(c, &t, e);
	audit_step(c->key, c->mac, line, t.covered);
	if (sodium_memcmp(c->mac, t.mac, sizeof(t.mac)) != 0)
		return err_set(e, -EBADMSG, "%s line %llu was changed", t.writer,
			       (unsigned long long)t.n);
	c->n = t.n;
	c->broken = false;
	if (t.head.n > 0 && audit_need_add(v, &t.head) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

int audit_verify_need(struct audit_verify *v, const char *writer, const uint8_t epoch[16], uint64_t n)
{
	struct audit_need need = {.n = n, .here = true};

	if (!audit_writer(writer))
		return -EINVAL;
	memcpy(need.writer, writer, strlen(writer));
	memcpy(need.epoch, epoch, sizeof(need.epoch));
	return n > 0 ? audit_need_add(v, &need) : 0;
}

int audit_verify_end(struct audit_verify *v, size_t *ret_elsewhere, struct err *e)
{
	size_t i;

	*ret_elsewhere = 0;
	for (i = 0; i < v->need_count; i++) {
		const struct audit_need *need = &v->needs[i];
		const struct audit_chain *c = audit_chain_find(v, need->writer, need->epoch);

		if (!c && !need->here)
			++*ret_elsewhere;
		else if (!c || c->n < need->n)
			return err_set(e, -EBADMSG, "the log ends at %s line %llu, and there were %llu at least: its end is missing",
				       need->writer, c ? (unsigned long long)c->n : 0ULL, (unsigned long long)need->n);
	}
	return 0;
}
