/* binding.h: what a secret is bound to, and what a rule injects, as typed: options into a request's fields. */
#ifndef BINDING_H
#define BINDING_H

#include "client.h"

/* Adds hosts, slots, ports, methods, paths and placeholder to the request, as far as the options name them; "any"
 * for a port, method or path takes away what the secret was bound to. */
int binding_add(const struct cli *c, json_t *request, struct err *e) must_check;

/* --host and --slot, each repeated or with commas: an array, or NULL with a sentence. */
json_t *binding_list(const struct cli *c, char id, struct err *e);

/* One --inject: "header:NAME: TEXT", "basic:TEXT", "query:NAME=TEXT", TEXT with {SECRET} where its value goes, into an
 * injection of a rule. */
int binding_inject(const char *typed, json_t **ret, struct err *e) must_check;

#endif
