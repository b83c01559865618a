/* dotenv.c: see dotenv.h. */
#include "dotenv.h"

#include <stdbool.h>
#include <string.h>

static char here(const struct dotenv *d)
{
	return d->at < d->len ? d->text[d->at] : '\0';
}

static bool over(const struct dotenv *d)
{
	return d->at >= d->len;
}

static void blanks(struct dotenv *d)
{
	while (!over(d) && (here(d) == ' ' || here(d) == '\t' || here(d) == '\r'))
		d->at++;
}

/* To the beginning of the next line. */
static void rest_of_line(struct dotenv *d)
{
	while (!over(d) && here(d) != '\n')
		d->at++;
	if (!over(d))
		d->at++;
	d->line++;
}

static int put(char *value, size_t cap, struct dotenv_pair *p, char c, struct err *e)
{
	if (p->value_len == cap)
		return err_set(e, -EINVAL, "line %zu: the value is longer than %zu bytes", p->line,
			       cap);
	value[p->value_len++] = c;
	return 0;
}

/* What a backslash and this letter stand for in double quotes; 0: both stay. */
static char escaped(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case '\\':
	case '"':
	case '$':
		return c;
	default:
		return '\0';
	}
}

static int quoted(struct dotenv *d, char *value, size_t cap, struct dotenv_pair *p, struct err *e)
{
	char quote = d->text[d->at++];

	for (; !over(d) && here(d) != quote; d->at++) {
		char c = here(d), is = '\0';
		int rc;

		if (c == '\n')
			d->line++;
		if (c == '\\' && quote == '"' && d->at + 1 < d->len)
			is = escaped(d->text[d->at + 1]);
		d->at += is != '\0';
		rc = put(value, cap, p, is ? is : c, e);
		if (rc)
			return rc;
	}
	if (over(d))
		return err_set(e, -EINVAL, "line %zu: the quotes are not closed", p->line);
	d->at++;
	blanks(d);
	if (!over(d) && here(d) != '\n' && here(d) != '#')
		return err_set(e, -EINVAL, "line %zu: something follows the closing quotes",
			       d->line);
	return 0;
}

static int plain(struct dotenv *d, char *value, size_t cap, struct dotenv_pair *p, struct err *e)
{
	for (; !over(d) && here(d) != '\n'; d->at++) {
		int rc;

		if (here(d) == '#' && d->at > 0 &&
		    (d->text[d->at - 1] == ' ' || d->text[d->at - 1] == '\t'))
			break;
		rc = put(value, cap, p, here(d), e);
		if (rc)
			return rc;
	}
	while (p->value_len && (value[p->value_len - 1] == ' ' || value[p->value_len - 1] == '\t' ||
				value[p->value_len - 1] == '\r'))
		p->value_len--;
	return 0;
}

/* The name and what is before it; false: this line has none. */
static int name(struct dotenv *d, struct dotenv_pair *p, struct err *e)
{
	blanks(d);
	if (d->len - d->at > 7 && memcmp(d->text + d->at, "export", 6) == 0 &&
	    (d->text[d->at + 6] == ' ' || d->text[d->at + 6] == '\t')) {
		d->at += 6;
		blanks(d);
	}
	p->name = d->text + d->at;
	while (!over(d) && here(d) != '=' && here(d) != '\n' && here(d) != ' ' && here(d) != '\t')
		d->at++;
	p->name_len = (size_t)(d->text + d->at - p->name);
	if (over(d) || here(d) != '=' || !p->name_len)
		return err_set(e, -EINVAL, "line %zu is not NAME=VALUE", p->line);
	d->at++;
	return 0;
}

int dotenv_next(struct dotenv *d, char *value, size_t cap, struct dotenv_pair *p, struct err *e)
{
	int rc;

	for (;; rest_of_line(d)) {
		blanks(d);
		if (over(d))
			return 0;
		if (here(d) != '#' && here(d) != '\n')
			break;
	}
	*p = (struct dotenv_pair){.line = d->line + 1};
	if (memchr(d->text + d->at, '\0', d->len - d->at))
		return err_set(e, -EINVAL, "line %zu or one after it has a NUL byte in it",
			       p->line);
	rc = name(d, p, e);
	if (rc)
		return rc;
	blanks(d);
	rc = here(d) == '"' || here(d) == '\'' ? quoted(d, value, cap, p, e)
					       : plain(d, value, cap, p, e);
	if (rc)
		return rc;
	rest_of_line(d);
	return 1;
}
