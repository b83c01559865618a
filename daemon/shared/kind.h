/* kind.h: what a secret is: a value that is sent as it is, or keys from which something is made that is sent.
 *
 *	value		the value itself
 *	aws		signs requests of AWS (SigV4); the agent signs with a placeholder, we sign again
 *	hmac		a reference becomes a signature of the request it stands in
 *	oauth2-client	RFC 6749 4.4: a reference becomes an access token, had with the client's credentials
 *	oauth2-refresh	RFC 6749 6: the same, had with a refresh token
 *	jwt-bearer	RFC 7523: the same, had with an assertion that is signed here
 *	github-app	the same, had for an installation of a GitHub App
 *
 * A kind has parts, which are secret and in the vault (parts.h), and parameters, which are not and stand in the
 * signed document. Parameters are one block of memory, sorted by name: "name\0value\0" for each, then "\0".
 *
 * Pure.
 */
#ifndef KIND_H
#define KIND_H

#include "err.h"
#include "rpc.h"

#include <stdbool.h>
#include <stdint.h>

enum kind {
	KIND_VALUE = 0,
	KIND_AWS,
	KIND_HMAC,
	KIND_OAUTH2_CLIENT,
	KIND_OAUTH2_REFRESH,
	KIND_JWT_BEARER,
	KIND_GITHUB_APP,
	KIND_COUNT,
};

#define KIND_PARTS_MAX      3
#define KIND_PARAMS_MAX     8
#define KIND_PARAM_MAX      1024 /* bytes of a parameter's value */
#define KIND_PARAM_NAME_MAX 24
#define KIND_BLOCK_MAX      (KIND_PARAMS_MAX * (KIND_PARAM_MAX + KIND_PARAM_NAME_MAX) + 1)
#define KIND_PATH_MAX       512

const char *kind_word(enum kind k);
int kind_of(const char *word); /* -1: there is none */
bool kind_mints(enum kind k);  /* a token is fetched for it */

/* The name of a part, NULL past the last. */
const char *kind_part(enum kind k, size_t i, bool *ret_required);

/* The value of a parameter, or NULL. block may be NULL: none. */
const char *kind_param(const char *block, const char *name);
/* The next parameter's name, its value behind it: *at starts as the block. NULL at the end. */
const char *kind_next(const char **at, const char **ret_value);

/* Checks names and values and makes a block of them, malloc'ed (NULL when there are none). */
int kind_params(enum kind k, const char *const *names, const char *const *values, size_t count,
		char **ret, struct err *e) must_check;

/* An https URL without query: its host, port and path. */
int kind_url(const char *url, char host[RPC_HOST_MAX], uint16_t *port,
	     char path[KIND_PATH_MAX]) must_check;
/* Where a kind that mints asks for its tokens. -EINVAL: its parameters do not say. */
int kind_endpoint(enum kind k, const char *block, char host[RPC_HOST_MAX], uint16_t *port,
		  char path[KIND_PATH_MAX]) must_check;

/* The placeholders by which agents name a secret of kind aws: what `run` exports and the proxy knows again. They
 * follow from workspace and name and are no secret. */
#define KIND_AWS_ID_LEN  20
#define KIND_AWS_KEY_LEN 40
void kind_aws_id(const char *workspace, const char *name, char out[KIND_AWS_ID_LEN + 1]);
void kind_aws_key(const char *workspace, const char *name, char out[KIND_AWS_KEY_LEN + 1]);

#endif
