/* dotenv.h: NAME=VALUE lines, as in .env files. Pure.
 *
 *	# a comment			export NAME=value	# "export" may stand before
 *	NAME=value # a comment		NAME='as it is, and over lines'
 *	NAME=				NAME="with \n \r \t \\ \" \$ and over lines"
 *
 * Nothing is put in for $NAME: a value is what stands there. Blanks around an unquoted value go.
 */
#ifndef DOTENV_H
#define DOTENV_H

#include "err.h"

struct dotenv {
	const char *text;
	size_t len;      /* to be parsed */
	size_t at, line; /* zero at first */
};

struct dotenv_pair {
	const char *name; /* in the text */
	size_t name_len;
	size_t line;      /* that it begins on, from 1 */
	size_t value_len; /* in the caller's buffer */
};

/* The next pair, its value in value[0..cap): 1; 0 at the end; -EINVAL with the line and what is wrong, and never a
 * part of a value. */
int dotenv_next(struct dotenv *d, char *value, size_t cap, struct dotenv_pair *p,
		struct err *e) must_check;

#endif
