/* run_env.h: the environment of a guarded program. Pure: values in, values out. */
#ifndef RUN_ENV_H
#define RUN_ENV_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

/* What run.enter answered. */
struct run_env {
	const char *ca, *bundle, *jks;	/* paths */
	const char *const *secrets;	/* names */
	size_t secret_count;
	bool java;			/* is there a java on PATH */
	const char *const *pairs;	/* "NAME=VALUE": placeholders of other shapes */
	size_t pair_count;
};

/* A new environment from `from`: our trust files win over what was set, proxy variables are left out (they
 * point at loopback or private addresses, which the wall blocks), each secret's name holds its reference
 * whatever it held before. The strings of *ret are ours or from's; the caller frees with run_env_free().
 * told, when not NULL, is called with "set NAME" or "left out NAME" for each change. */
int run_env_build(const struct run_env *in, char *const *from, void (*told)(const char *what, const char *name),
		  char ***ret, struct err *e) must_check;
void run_env_free(char **env);

#endif
