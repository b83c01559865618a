/* parts.c: see parts.h. */
#include "parts.h"

#include "jdoc.h"
#include "jwt.h"

#include <ctype.h>
#include <malloc.h>
#include <stdlib.h>

static void parts_wipe_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

void parts_start(void)
{
	json_set_alloc_funcs(malloc, parts_wipe_free);
}

void parts_done(struct parts *p)
{
	(void)secret_free(p->mem);
	*p = (struct parts){0};
}

static bool is_key(enum kind k)
{
	return k == KIND_JWT_BEARER || k == KIND_GITHUB_APP;
}

/* One line of visible text, or a key. */
static int part_ok(enum kind k, const char *name, const char *v, size_t len, struct err *e)
{
	if (len == 0 || len > PARTS_ONE_MAX)
		return err_set(e, -EINVAL, "%s must have 1 to %d bytes", name, PARTS_ONE_MAX);
	if (is_key(k))
		return jwt_key_check(v, len, e);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)v[i] < 0x20 || v[i] == 0x7f)
			return err_set(e, -EINVAL, "%s must be one line without control characters",
				       name);
	if (k == KIND_AWS && strcmp(name, "session_token") != 0)
		for (size_t i = 0; i < len; i++)
			if (!isalnum((unsigned char)v[i]) && !strchr("+/=_-", v[i]))
				return err_set(e, -EINVAL, "%s is none", name);
	return 0;
}

static int parts_take(enum kind k, json_t *o, struct parts *ret, struct err *e)
{
	size_t total = 0, known = 0, i;
	const char *name;
	bool required;
	uint8_t *to;
	int rc;

	for (i = 0; (name = kind_part(k, i, &required)); i++) {
		const json_t *v = json_object_get(o, name);

		if (!v && required)
			return err_set(
				e, -EINVAL,
				"a secret of kind %s needs %s; it is read as a JSON object of strings",
				kind_word(k), name);
		if (!v)
			continue;
		if (!json_is_string(v))
			return err_set(e, -EINVAL, "%s must be a string", name);
		rc = part_ok(k, name, json_string_value(v), json_string_length(v), e);
		if (rc < 0)
			return rc;
		total += json_string_length(v);
		known++;
	}
	if (known != json_object_size(o))
		return err_set(e, -EINVAL,
			       "there is a field that a secret of kind %s does not have",
			       kind_word(k));
	rc = secret_new(total, &ret->mem, e);
	if (rc < 0)
		return rc;
	to = secret_bytes(ret->mem);
	for (i = 0; (name = kind_part(k, i, &required)); i++) {
		const json_t *v = json_object_get(o, name);

		ret->at[i].p = v ? to : NULL;
		ret->at[i].len = v ? json_string_length(v) : 0;
		if (v)
			memcpy(to, json_string_value(v), ret->at[i].len);
		to += ret->at[i].len;
	}
	return 0;
}

/* A part alone, as it is but for a final newline. */
static int parts_one(enum kind k, const char *text, size_t len, struct parts *ret, struct err *e)
{
	bool required;
	const char *name = kind_part(k, 0, &required);
	int rc;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	rc = part_ok(k, name, text, len, e);
	if (rc == 0)
		rc = secret_of(text, len, &ret->mem, e);
	if (rc < 0)
		return rc;
	ret->at[0].p = secret_view(ret->mem);
	ret->at[0].len = len;
	return 0;
}

int parts_open(enum kind k, const struct secret *text, struct parts *ret, struct err *e)
{
	const char *p = (const char *)secret_view(text);
	size_t len = secret_len(text);
	auto_(json) json_t *o = NULL;
	bool required;
	struct err inner = {0};
	struct parts t = {0};
	int rc;

	if (p[0] != '{' && !kind_part(k, 1, &required)) {
		rc = parts_one(k, p, len, &t, e);
	} else {
		rc = jdoc_load(p, len, SECRET_SIZE_MAX, 1, &o, &inner);
		if (rc < 0 || !json_is_object(o)) /* what the library says may quote the text */
			return err_set(e, -EINVAL,
				       "a secret of kind %s is read as a JSON object of strings",
				       kind_word(k));
		rc = parts_take(k, o, &t, e);
	}
	if (rc < 0)
		return rc;
	*ret = t;
	return 0;
}
