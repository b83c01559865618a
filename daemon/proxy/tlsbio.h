/* tlsbio.h: what OpenSSL reads and writes through, and where its buffers come from.
 *
 * A BIO over a socket by recv(2) and send(2) without waiting and without SIGPIPE, which costs less than the library's own by
 * read(2) and write(2). The buffers of records, which come and go with every request, are kept for the next.
 */
#ifndef TLSBIO_H
#define TLSBIO_H

#include <openssl/bio.h>

/* Room for four records: one read takes them all, where that much is waiting. */
#define TLSBIO_READ_MAX 66048

/* Before the first use of OpenSSL in this process. */
void tlsbio_memory(void);
/* NULL: no memory. fd stays the caller's. */
BIO *tlsbio_new(int fd);

#endif
