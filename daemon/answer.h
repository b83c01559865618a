/* answer.h: responses of our own: protocol.md's refusals and errors, as bytes of HTTP/1.1. */
#ifndef ANSWER_H
#define ANSWER_H

#include "reason.h"
#include "wr.h"

#include <stdbool.h>

#define ANSWER_MAX 2048

int answer_status(enum reason why);
/* Head and body for a request of this method to this host ("": not known). keep: the connection goes on.
 * Never more than ANSWER_MAX bytes. */
void answer_write(enum reason why, const char *host, const char *method, bool keep, struct wr *w);

#endif
