/* client.h: one question to agentsecretsd over its control socket, and its answer (daemon/shared/control.h). */
#ifndef CLIENT_H
#define CLIENT_H

#include "cli.h"

#include <jansson.h>

static inline void json_cleanup(json_t **j)
{
	json_decref(*j);
	*j = NULL;
}
#define auto_json __attribute__((cleanup(json_cleanup)))

/* Where the daemon listens: control if given, AGENTSECRETS_CONTROL, "control" or "run_dir" of the config
 * file (config, or the default one when it can be read), or the built-in path. */
int client_find(struct cli *c, const char *control, const char *config, struct err *e) must_check;

/* {"op":op} and, when the command is bound to one and it is known, "workspace". NULL: out of memory. */
json_t *client_request(const struct cli *c, const char *op, bool bound);
/* The request with one more field. Both are taken over; if one is NULL, or memory runs out, so is what comes back. */
json_t *client_with(json_t *request, const char *key, json_t *value);

/* Sends the request (always freed; NULL is "out of memory") and, when fd >= 0, that descriptor. On 0
 * *ret is the answer, whose "ok" is true; *ret_fd the descriptor that came with it or -1 (ret_fd NULL:
 * none may come). On failure the sentence is the daemon's own, or says why it could not be asked. */
int client_call(const struct cli *c, json_t *request, int fd, json_t **ret, int *ret_fd,
		struct err *e) must_check;

/* Fields of an answer; "" and 0 where they are missing or of another type. */
const char *client_text(const json_t *obj, const char *key);
json_int_t client_number(const json_t *obj, const char *key);

#endif
