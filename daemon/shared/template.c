/* template.c: see template.h. */
#include "template.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const struct {
	const char *word;
	bool message, value;
} words[] = {
	[TEMPLATE_METHOD] = {"method", true, false},
	[TEMPLATE_PATH] = {"path", true, false},
	[TEMPLATE_QUERY] = {"query", true, false},
	[TEMPLATE_TARGET] = {"target", true, false},
	[TEMPLATE_HOST] = {"host", true, false},
	[TEMPLATE_TIMESTAMP] = {"timestamp", true, true},
	[TEMPLATE_TIMESTAMP_MS] = {"timestamp_ms", true, true},
	[TEMPLATE_BODY] = {"body", true, false},
	[TEMPLATE_BODY_SHA256] = {"body_sha256", true, false},
	[TEMPLATE_HEADER] = {"header:", true, false},
	[TEMPLATE_LF] = {"lf", true, false},
	[TEMPLATE_SIGNATURE] = {"signature", false, true},
};

static bool template_token(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
		      (p[i] >= '0' && p[i] <= '9') || strchr("!#$%&'*+-.^_`|~", p[i])))
			return false;
	return len > 0;
}

static int template_of(const char *p, size_t len, struct template_piece *ret)
{
	for (size_t i = TEMPLATE_METHOD; i < ARRAY_SIZE(words); i++)
		if (strlen(words[i].word) == len && memcmp(words[i].word, p, len) == 0 &&
		    i != TEMPLATE_HEADER) {
			*ret = (struct template_piece){.word = (enum template_word)i};
			return 1;
		}
	if (len <= 7 || memcmp(p, "header:", 7) != 0 || !template_token(p + 7, len - 7))
		return -EINVAL;
	*ret = (struct template_piece){TEMPLATE_HEADER, p + 7, len - 7};
	return 1;
}

int template_next(const char **at, struct template_piece *ret)
{
	const char *p = *at, *end;
	size_t n = strcspn(p, "{}");

	if (!*p)
		return 0;
	if (n > 0) {
		*ret = (struct template_piece){TEMPLATE_TEXT, p, n};
		*at = p + n;
		return 1;
	}
	end = *p == '{' ? strchr(p, '}') : NULL;
	if (!end)
		return -EINVAL;
	*at = end + 1;
	return template_of(p + 1, (size_t)(end - p - 1), ret);
}

int template_check(const char *text, int message, struct err *e)
{
	struct template_piece p;
	int rc, signatures = 0, some = 0;

	while ((rc = template_next(&text, &p)) > 0) {
		if (p.word != TEMPLATE_TEXT &&
		    !(message ? words[p.word].message : words[p.word].value))
			return err_set(e, -EINVAL, "{%s} cannot stand there", words[p.word].word);
		signatures += p.word == TEMPLATE_SIGNATURE;
		some += p.word != TEMPLATE_TEXT;
	}
	if (rc < 0)
		return err_set(e, rc, "a { has no }, or a word in braces is unknown");
	if (message && !some)
		return err_set(e, -EINVAL, "nothing of the request is in it");
	if (!message && signatures != 1)
		return err_set(e, -EINVAL, "it must have {signature} once");
	return 0;
}
