/* cmd_source.h: secrets whose value comes from a command, and what that shares with the other commands. */
#ifndef CMD_SOURCE_H
#define CMD_SOURCE_H

#include "client.h"

/* A user's name or number; -ENOENT with a sentence. */
int cmd_user_number(const char *text, json_int_t *ret, struct err *e) must_check;
/* The request of op for the secret that is named: name, hosts, slots, kind. */
int cmd_secrets_request(const struct cli *c, const char *op, json_t **ret, struct err *e) must_check;

/* `secrets set NAME --exec`. */
int cmd_secrets_command(struct cli *c);

#endif
