/* record.c: see record.h. getsockopt(fd, SOL_IP, EG_SO_RECORD), egress.h. */
#include "record.h"

#include <netinet/in.h>
#include <sys/socket.h>

int record_of(int fd, struct eg_record *rec)
{
	struct eg_record got = {0};
	socklen_t len = sizeof(got);

	if (getsockopt(fd, SOL_IP, EG_SO_RECORD, &got, &len) < 0)
		return -errno;
	if (len != sizeof(got) || got.guard == 0)
		return -ENOPROTOOPT;
	*rec = got;
	return 0;
}
