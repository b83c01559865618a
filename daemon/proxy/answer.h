/* answer.h: responses of our own: protocol.md's refusals and errors, as bytes of HTTP/1.1. */
#ifndef ANSWER_H
#define ANSWER_H

#include "reason.h"
#include "wr.h"

#include <stdbool.h>

#define ANSWER_MAX 2048

/* What is answered instead of a reason. */
enum answer_kind {
	ANSWER_REASON = 0,
	ANSWER_CONNECTED, /* to a CONNECT: 200, and no body */
	ANSWER_HEALTH,	  /* 200 {"status":"ok"} */
	ANSWER_TEXT,	  /* {"error":text} */
};

struct answer {
	enum answer_kind kind;
	int status;	  /* TEXT: 400 and up */
	const char *text; /* TEXT: a sentence of ours */
};

int answer_status(enum reason why);
/* The same for one that is not ANSWER_REASON; returns its status. */
int answer_write_ours(const struct answer *a, const char *method, bool keep, struct wr *w);
/* Head and body for a request of this method to this host ("": not known). keep: the connection goes on.
 * Never more than ANSWER_MAX bytes. */
void answer_write(enum reason why, const char *host, const char *method, bool keep, struct wr *w);
/* The same for a gRPC call: status 200, what happened in grpc-status and grpc-message, no body. Returns its status. */
int answer_write_grpc(enum reason why, const char *host, struct wr *w);

#endif
