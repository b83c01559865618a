/* child.c: see child.h. Blocking with poll until the boss says go; anything unexpected ends the child. */
#include "child.h"

#include <jansson.h>
#include <poll.h>

int child_wait_go(struct rpc_peer *boss, const struct rpc_row *rows, size_t count, void *ctx,
		  const bool *go)
{
	auto_free void *buf = malloc(RPC_BUF);
	int rc = 0;

	if (!buf)
		return -ENOMEM;
	/* jansson's hash seed comes from a file that the locked process cannot open. */
	json_object_seed(0);
	while (rc == 0 && !*go) {
		struct pollfd p = {.fd = boss->fd, .events = POLLIN};

		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
		/* One at a time: what comes after RPC_GO is for the loop. */
		rc = rpc_serve(boss, rows, count, ctx, buf, 1);
	}
	return rc;
}
