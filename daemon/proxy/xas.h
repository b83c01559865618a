/* xas.h: the /proxy endpoint's words: the X-AS-* fields of a request, and the request that they stand for.
 *
 *	X-AS-Target-URL			required: absolute URL
 *	X-AS-Method			upstream method; without it the request's own
 *	X-AS-Agent-ID, -Agent-Token, -Session-Token	taken note of at most: who asks is the kernel's word
 *	X-AS-Inject-Bearer: KEY		Authorization: Bearer <value>
 *	X-AS-Inject-Basic: KEY		the value is user:pass
 *	X-AS-Inject-Header-<Name>: KEY	<Name>: <value>
 *	X-AS-Inject-Query-<param>: KEY	the parameter is set, in its place or at the end
 *	X-AS-Inject-Body-<path>: KEY	the member of a JSON body is set; '-' and '.' part the names of the path
 *	X-AS-Inject-Form-<field>: KEY	the field of a urlencoded body is set, as a parameter is
 *	any other X-AS-*		dropped
 *
 * KEY is NAME or agentsecrets://NAME. In <param>, <field> and <path> letters keep their case as they arrive, and %XX is
 * the byte of that number, never a separator: %2D is a '-' within a name of a path.
 *
 * The request that is made of it holds references where the values shall stand, so what comes after judges and sends it
 * as it does any other. Two injections into one place, and one into a field that the request has itself, are errors:
 * neither would silently win.
 *
 * Pure.
 */
#ifndef XAS_H
#define XAS_H

#include "http1.h"
#include "jsonset.h"

#define XAS_MAX      16  /* injections of one request */
#define XAS_NAME_MAX 256 /* bytes of <param>, <field> or <path> */
#define XAS_ROOM     (XAS_MAX * 2048) /* what a body may grow by */

enum xas_kind { XAS_BEARER = 1, XAS_BASIC, XAS_HEADER, XAS_QUERY, XAS_BODY, XAS_FORM };

struct xas_put {
	enum xas_kind kind;
	struct http1_slice
		name; /* as in the field's name, escapes and all; empty for BEARER and BASIC */
	struct http1_slice key; /* NAME */
};

struct xas {
	struct http1_url url;
	struct http1_slice method; /* p NULL: none was given */
	struct http1_slice agent;  /* declared Agent-ID; p NULL: none */
	uint32_t count;
	struct xas_put puts[XAS_MAX];    /* in order */
	bool body, form;                 /* the body is to be edited */
	bool json_missing, form_missing; /* … and the request does not say of what type it is */
};

/* Reads the fields of a parsed request. NULL, or the sentence of the 400; it quotes nothing. */
const char *xas_read(const struct http1_head *h, struct xas *x) must_check;

/* The head that x stands for. NULL, or the sentence of the 400. w.full: too long. */
const char *xas_write(const struct http1_head *h, const struct xas *x, struct wr *w) must_check;

/* The body with the references of BODY or FORM in it, through `spare`, which holds as much as w; `body` may be either.
 * NULL: it is in *ret, in w or spare or the body itself; or the sentence of the 400. w->full: too long. */
const char *xas_body(const struct xas *x, struct http1_slice body, struct wr *w, struct wr *spare,
		     struct http1_slice *ret) must_check;

#endif
