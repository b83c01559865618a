/* args.h: command lines, from two tables: options and commands. Pure: no I/O.
 *
 * A command is one or more words ("workspace allowlist add"), then options and arguments in any order;
 * "--" ends the options. Options are long, some have a letter; --name=value and --name value, -nvalue and
 * -n value. Unknown words and options are refused with the nearest known one.
 */
#ifndef ARGS_H
#define ARGS_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

struct args_option {
	char id;	     /* named in args_command.options */
	const char *name;    /* without dashes */
	char letter;	     /* or 0 */
	const char *metavar; /* NULL: a flag */
	const char *help;
};

struct cli;

struct args_command {
	const char *words;
	const char *usage;   /* the arguments, for help */
	const char *brief;   /* one line */
	const char *text;    /* the rest of the help, or NULL */
	const char *options; /* ids it takes beside the common ones */
	int min, max;	     /* arguments; max -1: any number */
	bool passes_on;	     /* from the first argument on, everything is an argument */
	int (*run)(struct cli *c);
};

struct args_table {
	const struct args_option *options;
	size_t option_count;
	const char *common; /* ids every command takes */
	const struct args_command *commands;
	size_t command_count;
};

struct args_given {
	char id;
	const char *value; /* "" for a flag */
};

struct args {
	const struct args_command *command; /* NULL: none named */
	const char *group;	/* when the words typed begin commands but name none: those words, and */
	size_t group_len;	/* their length */
	struct args_given *given;
	size_t given_count;
	const char **rest;	/* the arguments, NULL-terminated */
	size_t rest_count;
};

/* Fills *a from argv (its strings are kept, not copied). -EINVAL with a sentence: wrong usage; the command
 * is set as far as it was understood, and options up to there. Number of arguments is not checked here:
 * see args_count_ok. args_done() in every case. */
int args_parse(const struct args_table *t, int argc, char **argv, struct args *a, struct err *e) must_check;
void args_done(struct args *a);

/* Too few or too many arguments for the command: -EINVAL. Arguments are not quoted: one may be a secret. */
int args_count_ok(const struct args *a, struct err *e) must_check;

/* The last value of an option; NULL when not given. */
const char *args_value(const struct args *a, char id);
/* The next value of an option that may be repeated; *at starts at 0. NULL at the end. */
const char *args_next(const struct args *a, char id, size_t *at);

/* The nearest of `names` to what was typed, or NULL when none is near. */
const char *args_nearest(const char *typed, const char *const *names, size_t count);

#endif
