/* httpdate.h: the Date field of a message, RFC 9110, 5.6.7: what its sender's clock said. Pure. */
#ifndef HTTPDATE_H
#define HTTPDATE_H

#include "http1.h"

/* Seconds since 1970 of "Sun, 06 Nov 1994 08:49:37 GMT"; 0: it is not of this form, the only one that may be sent. */
int64_t httpdate_seconds(struct http1_slice value);
/* Of a head's one Date field; 0: there is none, or there are several. */
int64_t httpdate_of(const struct http1_head *h);

#endif
