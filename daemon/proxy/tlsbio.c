/* tlsbio.c: see tlsbio.h. OpenSSL allocates a connection's buffers anew for each burst of records, since idle connections
 * shall have none (SSL_MODE_RELEASE_BUFFERS). Blocks of the two sizes that this comes to are real blocks of malloc(3), known
 * by their usable size, so that each may be grown and freed in the ordinary way as well.
 */
#include "tlsbio.h"

#include "buf.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

/* ---- memory ---- */

#ifdef BUF_SANITIZED
void tlsbio_memory(void)
{
}
#else
#define TLSBIO_SPARES 32

static struct spares {
	const size_t least, size; /* what is asked for, and what is given */
	void *at[TLSBIO_SPARES];
	size_t count;
} spares[] = {{.least = 16384, .size = 18432}, {.least = 65536, .size = TLSBIO_READ_MAX + 1024}};

static struct spares *spares_of(size_t n, bool exact)
{
	for (size_t i = 0; i < sizeof(spares) / sizeof(*spares); i++)
		if (n <= spares[i].size + (exact ? 64 : 0) && n >= (exact ? spares[i].size : spares[i].least))
			return &spares[i];
	return NULL;
}

static void *tlsbio_malloc(size_t n, const char *file, int line)
{
	struct spares *s = n < spares[0].least ? NULL : spares_of(n, false);

	(void)file;
	(void)line;
	if (s && s->count > 0)
		return s->at[--s->count];
	return malloc(s ? s->size : n);
}

static void tlsbio_free(void *p, const char *file, int line)
{
	size_t n = p ? malloc_usable_size(p) : 0;
	struct spares *s = n < spares[0].size ? NULL : spares_of(n, true);

	(void)file;
	(void)line;
	if (s && s->count < TLSBIO_SPARES)
		s->at[s->count++] = p;
	else
		free(p);
}

static void *tlsbio_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return realloc(p, n);
}

void tlsbio_memory(void)
{
	(void)CRYPTO_set_mem_functions(tlsbio_malloc, tlsbio_realloc, tlsbio_free);
}
#endif

/* ---- the BIO ---- */

static int tlsbio_fd(BIO *b)
{
	return (int)(intptr_t)BIO_get_data(b);
}

static int tlsbio_result(BIO *b, ssize_t n, int again)
{
	BIO_clear_flags(b, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY | BIO_FLAGS_IN_EOF);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_flags(b, again | BIO_FLAGS_SHOULD_RETRY);
	return (int)n;
}

static int tlsbio_read(BIO *b, char *p, int len)
{
	ssize_t n = recv(tlsbio_fd(b), p, (size_t)len, MSG_DONTWAIT);
	int rc = tlsbio_result(b, n, BIO_FLAGS_READ);

	if (n == 0 && len > 0)
		BIO_set_flags(b, BIO_FLAGS_IN_EOF);
	return rc;
}

static int tlsbio_write(BIO *b, const char *p, int len)
{
	return tlsbio_result(b, send(tlsbio_fd(b), p, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static long tlsbio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)num;
	(void)ptr;
	if (cmd == BIO_CTRL_EOF)
		return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

BIO *tlsbio_new(int fd)
{
	static BIO_METHOD *method;
	BIO *b;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR, "socket");
		if (!method || BIO_meth_set_read(method, tlsbio_read) != 1 || BIO_meth_set_write(method, tlsbio_write) != 1 ||
		    BIO_meth_set_ctrl(method, tlsbio_ctrl) != 1) {
			BIO_meth_free(method);
			method = NULL;
			return NULL;
		}
	}
	b = BIO_new(method);
	if (!b)
		return NULL;
	BIO_set_data(b, (void *)(intptr_t)fd);
	BIO_set_init(b, 1);
	return b;
}
