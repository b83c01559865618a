/* cmd_import.c: `agentsecrets secrets import`: many secrets from standard input, .env or JSON.
 *
 * All of it is read and checked before the first one is stored. The text and the values lie in mappings that are
 * locked where the limit allows it, not dumped, and wiped.
 */
#include "binding.h"
#include "dotenv.h"
#include "prompt.h"
#include "show.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define IMPORT_MAX  (1u << 20)
#define IMPORT_MANY 512

struct import {
	char *text;   /* IMPORT_MAX bytes, what came */
	char *values; /* IMPORT_MAX bytes */
	size_t len, used, count;
	struct {
		char name[129], from[129]; /* as stored, as it stood there */
		size_t line;               /* 0: not known */
		size_t at, len;            /* in values */
	} of[IMPORT_MANY];
};

static char *import_map(void)
{
	void *p = mmap(NULL, IMPORT_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	if (p == MAP_FAILED)
		return NULL;
	(void)mlock(p, IMPORT_MAX); /* best effort */
	(void)madvise(p, IMPORT_MAX, MADV_DONTDUMP);
	(void)madvise(p, IMPORT_MAX, MADV_WIPEONFORK);
	return p;
}

static void import_done(struct import *im)
{
	char *areas[] = {im->text, im->values};

	for (size_t i = 0; i < ARRAY_SIZE(areas); i++)
		if (areas[i]) {
			explicit_bzero(areas[i], IMPORT_MAX);
			(void)munmap(areas[i], IMPORT_MAX);
		}
	*im = (struct import){0};
}

static int import_read(struct import *im, struct err *e)
{
	im->text = import_map();
	im->values = import_map();
	if (!im->text || !im->values)
		return err_set(e, -ENOMEM, "out of memory");
	for (;;) {
		ssize_t n = read(STDIN_FILENO, im->text + im->len, IMPORT_MAX - im->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, -errno, "cannot read standard input: %s",
				       strerror(errno));
		if (n == 0)
			return 0;
		im->len += (size_t)n;
		if (im->len == IMPORT_MAX)
			return err_set(e, -E2BIG, "more than %u bytes; nothing was stored",
				       IMPORT_MAX);
	}
}

/* Lower-case letters become upper-case ones, '-' and '.' become '_'; all else that no name has is refused. */
static int import_name(const char *p, size_t len, size_t line, char out[129], struct err *e)
{
	for (size_t i = 0; i < len && i < 128; i++) {
		char c = p[i];

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 32);
		if (c == '-' || c == '.')
			c = '_';
		if (!(c >= 'A' && c <= 'Z') && c != '_' && !(i && c >= '0' && c <= '9'))
			return line ? err_set(e, -EINVAL,
					      "line %zu: the name is not made of letters, digits and '_'; nothing "
					      "was stored",
					      line)
				    : err_set(e, -EINVAL,
					      "a name is not made of letters, digits and '_'; nothing was stored");
		out[i] = c;
	}
	if (len == 0 || len > 128)
		return err_set(e, -EINVAL,
			       "line %zu: a name has 1 to 128 characters; nothing was stored",
			       line);
	out[len] = '\0';
	return 0;
}

/* One pair, its value at the end of the values. */
static int import_add(struct import *im, const char *name, size_t name_len, size_t line,
		      size_t value_len, struct err *e)
{
	char is[129];
	int rc = import_name(name, name_len, line, is, e);

	for (size_t i = 0; rc == 0 && i < im->count; i++)
		if (strcmp(im->of[i].name, is) == 0)
			return line ? err_set(e, -EINVAL,
					      "line %zu: %s stands on line %zu too; nothing was stored",
					      line, is, im->of[i].line)
				    : err_set(e, -EINVAL,
					      "%s stands there twice; nothing was stored", is);
	if (rc == 0 && im->count == IMPORT_MANY)
		return err_set(e, -E2BIG, "more than %d secrets; nothing was stored", IMPORT_MANY);
	if (rc == 0)
		rc = prompt_check(im->values + im->used, value_len, false, e);
	if (rc)
		return line ? err_in(e, rc, "line %zu", line) : err_in(e, rc, "%s", is);
	memcpy(im->of[im->count].name, is, sizeof(is));
	memcpy(im->of[im->count].from, name, name_len);
	im->of[im->count].from[name_len] = '\0';
	im->of[im->count].line = line;
	im->of[im->count].at = im->used;
	im->of[im->count].len = value_len;
	im->used += value_len;
	im->count++;
	return 0;
}

static int import_dotenv(struct import *im, struct err *e)
{
	struct dotenv d = {.text = im->text, .len = im->len};
	struct dotenv_pair p;
	int rc;

	while ((rc = dotenv_next(&d, im->values + im->used, IMPORT_MAX - im->used, &p, e)) > 0) {
		rc = import_add(im, p.name, p.name_len, p.line, p.value_len, e);
		if (rc)
			return rc;
	}
	return rc;
}

static int import_json(struct import *im, struct err *e)
{
	json_error_t je;
	auto_json json_t *o = json_loadb(im->text, im->len, JSON_REJECT_DUPLICATES, &je);
	const char *name;
	json_t *v;
	int rc = 0;

	/* What jansson says of it may quote a part. */
	if (!json_is_object(o))
		return err_set(
			e, -EINVAL,
			"line %d: not an object of JSON, or a name stands in it twice; nothing was stored",
			o ? 1 : je.line);
	json_object_foreach(o, name, v) {
		if (!json_is_string(v))
			return err_set(e, -EINVAL, "a value is no string; nothing was stored");
		if (json_string_length(v) > IMPORT_MAX - im->used)
			return err_set(e, -E2BIG, "the values are too long; nothing was stored");
		memcpy(im->values + im->used, json_string_value(v), json_string_length(v));
		rc = import_add(im, name, strlen(name), 0, json_string_length(v), e);
		explicit_bzero((void *)json_string_value(v), json_string_length(v));
		if (rc)
			return rc;
	}
	return rc;
}

static bool looks_like_json(const struct import *im)
{
	size_t at = 0;

	while (at < im->len && strchr(" \t\r\n", im->text[at]) && im->text[at])
		at++;
	return at < im->len && im->text[at] == '{';
}

static int import_store(struct cli *c, struct import *im, size_t i, struct err *e)
{
	struct prompt value = {.value = im->values + im->of[i].at, .len = im->of[i].len};
	auto_json json_t *a = NULL, *request = client_request(c, "secrets.set", true);
	auto_close int fd = -1;
	int rc = request ? binding_add(c, request, e) : err_set(e, -ENOMEM, "out of memory");

	if (!rc && json_object_set_new(request, "name", json_string(im->of[i].name)))
		rc = err_set(e, -ENOMEM, "out of memory");
	if (!rc)
		rc = prompt_pipe(&value, &fd, e);
	return rc ? rc : client_call(c, take(request), fd, &a, NULL, e);
}

static int import_all(struct cli *c, struct import *im, json_t *names, struct err *e)
{
	for (size_t i = 0; i < im->count; i++) {
		int rc = import_store(c, im, i, e);

		if (rc)
			return err_in(e, rc, "%s (%zu of %zu were stored)", im->of[i].name, i,
				      im->count);
		(void)json_array_append_new(names, json_string(im->of[i].name));
		if (strcmp(im->of[i].name, im->of[i].from) != 0)
			(void)fprintf(stderr, "agentsecrets: stored as %s\n", im->of[i].name);
	}
	return 0;
}

int cmd_secrets_import(struct cli *c)
{
	auto_json json_t *names = json_array(), *answer = NULL;
	static struct import im;
	struct err e = {""};
	size_t count;
	int rc = prompt_protect(&e);

	if (!rc && isatty(STDIN_FILENO))
		return cli_usage(
			c,
			"the secrets come on standard input: agentsecrets secrets import < .env");
	if (!rc)
		rc = import_read(&im, &e);
	if (!rc)
		rc = looks_like_json(&im) ? import_json(&im, &e) : import_dotenv(&im, &e);
	if (!rc && im.count == 0)
		rc = err_set(&e, -EINVAL, "there is no NAME=VALUE in it; nothing was stored");
	if (!rc)
		rc = import_all(c, &im, names, &e);
	count = im.count;
	import_done(&im);
	if (rc)
		return cli_fail(&e);
	if (c->json) {
		answer = json_pack("{s:O}", "stored", names);
		return show_json(answer);
	}
	(void)printf("Stored %zu secret%s.\n", count, count == 1 ? "" : "s");
	return show_end();
}
