/* listing.h: commands that ask for a list: a table of it, or with --json the answer as it came. */
#ifndef LISTING_H
#define LISTING_H

#include "cli.h"

#include <jansson.h>

struct listing {
	const char *op;
	bool bound;        /* to a workspace, as client_request() has it */
	const char *field; /* of the answer: the list */
	const char *const *heads;
	size_t columns;
	json_t *(*row)(
		const json_t *
			item); /* its cells, an array of strings; NULL: out of memory, it is left out */
};

/* Returns the exit status. */
int listing(struct cli *c, const struct listing *l);

#endif
