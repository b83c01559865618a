/* fuzz_dnsmsg.c: any bytes as a query; what can be answered is answered within its limit, by
 * every writer. */
#include "dnsmsg.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const uint8_t addr[3][16] = {
		{[10] = 0xff, 0xff, 192, 0, 2, 1}, {0x20, 1}, {0x20, 2}};
	uint8_t out[DNSMSG_ANSWER_MAX];
	enum dnsmsg_rcode rcode;
	struct dnsmsg_query q;
	size_t len, cap;

	if (dnsmsg_frame(p, n, &len) == 1 && len + 2 > n)
		abort();
	if (dnsmsg_parse(p, n, &q, &rcode) < 0)
		return 0;
	cap = dnsmsg_limit(&q, false);
	if (!dnsmsg_empty(&q, rcode, out, cap) ||
	    !dnsmsg_negative(&q, DNSMSG_NXDOMAIN, 5, out, cap) ||
	    !dnsmsg_addresses(&q, addr, 3, 5, out, cap) || q.hostname != (q.host[0] != '\0'))
		abort();
	return 0;
}
