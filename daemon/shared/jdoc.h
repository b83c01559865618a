/* jdoc.h: small JSON documents, read strictly, with a sentence for every refusal.
 *
 * Size and nesting are bounded before jansson sees a byte; duplicate names, text after the document
 * and unknown fields are errors. A getter leaves *ret as it was when the field is missing, so that
 * defaults are set first. Header only; rules and config use it.
 *
 * jansson takes its hash seed from /dev/urandom when the first object is made: a process that locks
 * itself up calls json_object_seed(0) before.
 */
#ifndef JDOC_H
#define JDOC_H

#include "err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

OWN_CLEANUP(json, json_t, json_decref)

#define JDOC_SHOW_MAX 80

/* A string from outside, fit to stand in a sentence: printable ASCII, cut. */
static inline const char *jdoc_show(const char *s, char out[JDOC_SHOW_MAX])
{
	size_t n = 0;

	for (; s[n] && n < JDOC_SHOW_MAX - 1; n++)
		out[n] = s[n] > ' ' && s[n] < 0x7f ? s[n] : '?';
	if (s[n])
		memcpy(out + n - 3, "...", 3);
	out[n] = '\0';
	return out;
}

/* Are brackets outside strings nested at most `most` deep. */
static inline bool jdoc_shallow(const char *text, size_t len, unsigned int most)
{
	unsigned int depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		if (in_string) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				in_string = false;
		} else if (text[i] == '"') {
			in_string = true;
		} else if (text[i] == '{' || text[i] == '[') {
			if (++depth > most)
				return false;
		} else if ((text[i] == '}' || text[i] == ']') && depth) {
			depth--;
		}
	}
	return true;
}

static inline int must_check jdoc_load(const char *text, size_t len, size_t most, unsigned int depth,
				       json_t **ret, struct err *e)
{
	json_error_t je;
	json_t *j;

	if (len > most)
		return err_set(e, -E2BIG, "%zu bytes are too many; at most %zu fit", len, most);
	if (!jdoc_shallow(text, len, depth))
		return err_set(e, -EINVAL, "brackets are nested more than %u deep", depth);
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!j) {
		for (char *p = je.text; *p; p++)
			*p = *p >= ' ' && *p < 0x7f ? *p : '?';
		return err_set(e, -EINVAL, "not JSON, line %d, column %d: %s", je.line, je.column, je.text);
	}
	*ret = j;
	return 0;
}

/* o is an object and has no field but the named ones. */
static inline int must_check jdoc_fields(json_t *o, const char *const *names, size_t count, struct err *e)
{
	char show[JDOC_SHOW_MAX];
	const char *name;
	json_t *v;

	if (!json_is_object(o))
		return err_set(e, -EINVAL, "must be an object, {...}");
	json_object_foreach(o, name, v) {
		size_t i = 0;

		while (i < count && strcmp(name, names[i]) != 0)
			i++;
		if (i == count)
			return err_set(e, -EINVAL, "there is no field \"%s\" here", jdoc_show(name, show));
	}
	return 0;
}

static inline int must_check jdoc_uint(const json_t *o, const char *name, uint64_t min, uint64_t max,
				       uint64_t *ret, struct err *e)
{
	const json_t *v = json_object_get(o, name);
	json_int_t n;

	if (!v)
		return 0;
	if (!json_is_integer(v))
		return err_set(e, -EINVAL, "%s must be a whole number", name);
	n = json_integer_value(v);
	if (n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		return err_set(e, -EINVAL, "%s %lld is out of range; use %llu to %llu", name, (long long)n,
			       (unsigned long long)min, (unsigned long long)max);
	*ret = (uint64_t)n;
	return 0;
}

static inline int must_check jdoc_bool(const json_t *o, const char *name, bool *ret, struct err *e)
{
	const json_t *v = json_object_get(o, name);

	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return err_set(e, -EINVAL, "%s must be true or false", name);
	*ret = json_is_true(v);
	return 0;
}

/* The string lives as long as the object. */
static inline int must_check jdoc_str(const json_t *o, const char *name, const char **ret, struct err *e)
{
	const json_t *v = json_object_get(o, name);

	if (!v)
		return 0;
	if (!json_is_string(v))
		return err_set(e, -EINVAL, "%s must be a string", name);
	*ret = json_string_value(v);
	return 0;
}

/* An array of at most `most` strings; *ret stays NULL when the field is missing. */
static inline int must_check jdoc_strs(const json_t *o, const char *name, size_t most, const json_t **ret,
				       struct err *e)
{
	const json_t *v = json_object_get(o, name);

	if (!v)
		return 0;
	if (!json_is_array(v))
		return err_set(e, -EINVAL, "%s must be a list, [...]", name);
	if (json_array_size(v) > most)
		return err_set(e, -E2BIG, "%s has %zu entries; at most %zu fit", name, json_array_size(v), most);
	for (size_t i = 0; i < json_array_size(v); i++)
		if (!json_is_string(json_array_get(v, i)))
			return err_set(e, -EINVAL, "%s: entry %zu must be a string", name, i + 1);
	*ret = v;
	return 0;
}

static inline const char *jdoc_at(const json_t *list, size_t i)
{
	return json_string_value(json_array_get(list, i));
}

#endif
