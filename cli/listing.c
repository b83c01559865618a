/* listing.c: see listing.h. */
#include "listing.h"

#include "client.h"
#include "show.h"

int listing(struct cli *c, const struct listing *l)
{
	auto_json json_t *a = NULL, *rows = json_array();
	const json_t *item;
	struct err e = {""};
	size_t i;

	if (client_call(c, client_request(c, l->op, l->bound), -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	json_array_foreach(json_object_get(a, l->field), i, item)
		(void)json_array_append_new(rows, l->row(item));
	show_table(stdout, l->heads, l->columns, rows);
	return show_end();
}
