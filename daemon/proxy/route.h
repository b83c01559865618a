/* route.h: may this connection, and then this request, go there: steps 1 to 4 of the order of evaluation.
 *
 * Pure functions of the kernel's record, what the client said (CONNECT target, SNI, request) and the
 * workspace's rules. Everything the client said must agree: SNI = Host = CONNECT target, and the port is
 * the one it dialled. Step 5 (addresses) and 6 (secrets) come after; see origin.h and inject.h.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "http1.h"
#include "reason.h"
#include "rules.h"

#define ROUTE_PATH_MAX 8192 /* a path longer than this is refused where a rule looks at paths */

enum route_via {
	ROUTE_TRANSPARENT = 1, /* the kernel redirected the socket */
	ROUTE_CONNECT,	       /* inside a CONNECT tunnel to our explicit port */
	ROUTE_ABSOLUTE,	       /* absolute-form request to our explicit port */
	ROUTE_URL,	       /* the /proxy endpoint: the URL was asked for by header */
};

struct route_ask {
	enum route_via via;
	const uint8_t *addr;   /* TRANSPARENT: 16 bytes, original destination */
	uint16_t port;	       /* TRANSPARENT: original port */
	const char *target;    /* CONNECT: the target's host as parsed (http1_meaning.host) */
	bool target_address;   /* … which is an address */
	uint16_t target_port;  /* … and its port */
	bool tls;	       /* TRANSPARENT, CONNECT: the client speaks TLS with us on this connection */
	const char *sni;       /* its SNI, "" or NULL: none */
	const struct rules *rules; /* NULL: the workspace is gone */
	/* route_request() only: */
	const struct http1_head *head;
	const struct http1_meaning *meaning;
	const struct http1_url *url; /* URL: where the request shall go; method: below */
	struct http1_slice method;   /* URL: upstream method; p NULL: the request's */
	bool references;	     /* inject_scan() found some */
};

struct route {
	enum reason reason;	      /* why not; only looked at when rule is NULL */
	const struct rules_rule *rule; /* NULL: refused */
	char host[RPC_HOST_MAX];      /* checked; set also when refused, as far as it is known ("" if not) */
	bool address;		      /* host is an address in text */
	uint16_t port;
	enum http1_scheme scheme;     /* towards the upstream */
	bool upgraded;		      /* the client asked in the clear, at port 80; scheme and port are the rule's */
	struct http1_slice path;      /* without query; route_request() only */
};

/* Before there is a request: after CONNECT (via CONNECT, tls false, no SNI yet asked for: set `sni` to
 * NULL and `tls` to false), after a ClientHello, or when a connection turns out to be neither TLS nor
 * HTTP (tls false: only a rule of mode tcp then helps; the caller looks at rule->mode). A rule found
 * here is the first of that host and port; its methods and paths are not looked at. */
void route_open(const struct route_ask *a, struct route *r);

/* The whole verdict for one request. The rule is of mode inspect. */
void route_request(const struct route_ask *a, struct route *r);

#endif
