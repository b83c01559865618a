/* sieve.c: see sieve.h. `plain` holds what is ready, then what may be the beginning of a find. */
#include "sieve.h"

void sieve_init(struct sieve *v, const struct redact *redact, struct recode *recode)
{
	*v = (struct sieve){.redact = redact, .recode = recode};
	buf_init(&v->coded, 2 * SIEVE_HOLD_MAX);
	buf_init(&v->plain, 2 * SIEVE_HOLD_MAX);
}

void sieve_done(struct sieve *v)
{
	buf_done(&v->coded);
	buf_done(&v->plain);
	v->recode = recode_free(v->recode);
	v->redact = NULL;
	v->ready = 0;
	v->more = false;
}

int sieve_put(struct sieve *v, const void *p, size_t n)
{
	v->more = true;
	v->coded.wipe = v->plain.wipe = true; /* buf_done() forgets it */
	return buf_add(v->recode ? &v->coded : &v->plain, p, n);
}

/* Decodes some; sets v->more. */
static int sieve_decode(struct sieve *v)
{
	size_t room, used, made;
	uint8_t none, *to;
	int rc;

	v->plain.wipe = true;
	to = buf_room(&v->plain, BUF_UNIT, &room);
	if (!to)
		return -ENOBUFS;
	rc = recode_some(v->recode, buf_len(&v->coded) ? buf_bytes(&v->coded) : &none,
			 buf_len(&v->coded), &used, to, room, &made);
	if (rc < 0)
		return rc;
	buf_added(&v->plain, made);
	buf_take(&v->coded, used);
	v->more = used > 0 || made > 0;
	return !v->more && buf_len(&v->coded) > 0 ? -EBADMSG : 0;
}

int sieve_next(struct sieve *v, bool last, const uint8_t **ret, size_t *ret_n)
{
	int rc;

	*ret_n = 0;
	while (v->ready == 0 && (v->more || (last && buf_len(&v->plain) > 0))) {
		rc = v->recode ? sieve_decode(v) : 0;
		if (rc < 0)
			return rc;
		v->more = v->more && v->recode;
		if (buf_len(&v->plain) == 0)
			continue;
		v->ready = redact_scan(v->redact, &v->text, buf_bytes(&v->plain),
				       buf_len(&v->plain), last && !v->more);
		if (buf_len(&v->plain) - v->ready > SIEVE_HOLD_MAX)
			return -E2BIG;
	}
	if (last && !sieve_busy(v) && v->recode && !recode_complete(v->recode))
		return -EBADMSG;
	if (v->ready > 0)
		*ret = buf_bytes(&v->plain);
	*ret_n = v->ready;
	return 0;
}

void sieve_took(struct sieve *v)
{
	buf_take(&v->plain, v->ready);
	v->ready = 0;
}

static uint64_t sieve_slice(const struct redact *redact, const struct http1_head *h,
			    struct http1_slice s, uint8_t *at)
{
	struct redact_text t = {0};

	if (s.len > 0)
		(void)redact_scan(redact, &t, at + (s.p - h->raw.p), s.len, true);
	return t.found;
}

uint64_t sieve_head(const struct redact *redact, struct http1_head *h, uint8_t *at)
{
	uint64_t found = sieve_slice(redact, h, h->phrase, at);
	uint32_t i;

	for (i = 0; i < h->field_count; i++) {
		const struct http1_field *f = &h->fields[i];

		if (f->id == HTTP1_CONTENT_LENGTH || f->id == HTTP1_TRANSFER_ENCODING ||
		    f->id == HTTP1_CONNECTION)
			continue;
		found += sieve_slice(redact, h, f->name, at) + sieve_slice(redact, h, f->value, at);
	}
	return found;
}
