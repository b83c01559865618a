/* origin.c: classes of addresses.
 *
 * An IPv4 address, or each IPv4 address that an IPv6 one carries, is judged by policy.h and then by the
 * prefixes below, which the kernel side lets through to the proxy but which nobody on the internet has.
 * IPv6 by policy.h, then by its own prefixes; there the longest match decides, so that the few globally
 * reachable assignments inside 2001::/23 stay public. Source: the IANA IPv4 and IPv6 special-purpose
 * address registries. 192.0.0.9 and .10 (anycast for PCP and TURN) stay reserved, as in the kernel.
 */
#include "origin.h"

#include "../../bpf/policy.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum class {
	PUBLIC,
	LOOPBACK,
	PRIVATE,
	LINK_LOCAL,
	METADATA,
	MULTICAST,
	RESERVED,
	DOCUMENTATION,
	BENCHMARKING,
	SINKHOLE,
};

static const struct {
	const char *word;
	bool by_name, by_address; /* what a rule with `private` opens */
} classes[] = {
	[PUBLIC] = {NULL, true, true},
	[LOOPBACK] = {"loopback", true, true},
	[PRIVATE] = {"private", true, true},
	[LINK_LOCAL] = {"link_local", true, true},
	[METADATA] = {"metadata", false, true},
	[MULTICAST] = {"multicast", false, false},
	[RESERVED] = {"reserved", false, false},
	[DOCUMENTATION] = {"documentation", false, true},
	[BENCHMARKING] = {"benchmarking", false, true},
	[SINKHOLE] = {"sinkhole", false, false},
};

#define V4(a, b, c, d, n) {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, 96 + (n)}

/* What policy.h calls public and is not. Of several that match, the longest. */
static const struct {
	struct config_net net;
	enum class class;
} special[] = {
	{V4(192, 0, 2, 0, 24), SINKHOLE},      /* RFC 5737 TEST-NET-1; CONFIG_SINKHOLE4 */
	{V4(198, 51, 100, 0, 24), DOCUMENTATION}, /* RFC 5737 */
	{V4(203, 0, 113, 0, 24), DOCUMENTATION},  /* RFC 5737 */
	{V4(198, 18, 0, 0, 15), BENCHMARKING},    /* RFC 2544 */
	{{{0x20, 0x01}, 23}, RESERVED},		  /* RFC 2928, IETF protocol assignments, with: */
	{{{0x20, 0x01, 0, 0}, 32}, PUBLIC},	  /* RFC 4380, Teredo: judged by what it carries */
	{{{0x20, 0x01, 0, 1, [15] = 1}, 128}, PUBLIC}, /* RFC 7723, PCP anycast */
	{{{0x20, 0x01, 0, 1, [15] = 2}, 128}, PUBLIC}, /* RFC 8155, TURN anycast */
	{{{0x20, 0x01, 0, 1, [15] = 3}, 128}, PUBLIC}, /* RFC 9665, DNS-SD SRP anycast */
	{{{0x20, 0x01, 0, 2, 0, 0}, 48}, BENCHMARKING}, /* RFC 5180 */
	{{{0x20, 0x01, 0, 3}, 32}, PUBLIC},	  /* RFC 7450, AMT */
	{{{0x20, 0x01, 0, 4, 0x01, 0x12}, 48}, PUBLIC}, /* RFC 7535, AS112 */
	{{{0x20, 0x01, 0, 0x20}, 28}, PUBLIC},	  /* RFC 7343, ORCHIDv2 */
	{{{0x20, 0x01, 0, 0x30}, 28}, PUBLIC},	  /* RFC 9374, DRIP */
	{{{0x20, 0x01, 0x0d, 0xb8}, 32}, DOCUMENTATION}, /* RFC 3849 */
	{{{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0}, 64}, SINKHOLE}, /* CONFIG_SINKHOLE6 */
	{{{0x3f, 0xff, 0x00}, 20}, DOCUMENTATION}, /* RFC 9637 */
};

static bool net_has(const struct config_net *net, const uint8_t addr[16])
{
	uint32_t bytes = net->len / 8, bits = net->len % 8;

	if (net->len > 128 || memcmp(net->addr, addr, bytes) != 0)
		return false;
	return !bits || (net->addr[bytes] ^ addr[bytes]) >> (8 - bits) == 0;
}

static enum class class_of_kernel(uint8_t eg)
{
	switch (eg) {
	case 0:
		return PUBLIC;
	case EG_REASON_LOOPBACK:
		return LOOPBACK;
	case EG_REASON_PRIVATE:
		return PRIVATE;
	case EG_REASON_LINK_LOCAL:
		return LINK_LOCAL;
	case EG_REASON_METADATA:
		return METADATA;
	case EG_REASON_MULTICAST:
		return MULTICAST;
	default:
		return RESERVED;
	}
}

/* One address, without looking for another inside. */
static enum class class_plain(const struct config *c, const uint8_t addr[16])
{
	enum class found = class_of_kernel(policy_class(addr));
	uint32_t longest = 0;

	if (found != PUBLIC)
		return found;
	for (size_t i = 0; i < ARRAY_SIZE(special); i++)
		if (special[i].net.len > longest && net_has(&special[i].net, addr)) {
			longest = special[i].net.len;
			found = special[i].class;
		}
	if (found != DOCUMENTATION && found != BENCHMARKING)
		return found;
	assert(!c || c->public_count <= CONFIG_NETS_MAX);
	for (uint32_t i = 0; c && i < c->public_count; i++)
		if (net_has(&c->treat_as_public[i], addr))
			return PUBLIC;
	return found;
}

/* The IPv4 addresses that an IPv6 one carries, v4-mapped; policy.h has judged their classes already, so
 * only the prefixes of this file are still asked about them. The count. */
static size_t carried(const uint8_t a[16], uint8_t out[4][16])
{
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
	static const uint8_t nat64_local[6] = {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01};
	static const uint8_t teredo[4] = {0x20, 0x01};
	size_t n = 0;

	if (memcmp(a, nat64_local, sizeof(nat64_local)) == 0) {
		const uint8_t at[3][4] = {
			{a[6], a[7], a[9], a[10]}, {a[7], a[9], a[10], a[11]}, {a[9], a[10], a[11], a[12]}};

		for (size_t i = 0; i < ARRAY_SIZE(at); i++)
			origin_of_v4(at[i], out[n++]);
		origin_of_v4(a + 12, out[n++]);
	} else if (memcmp(a, teredo, sizeof(teredo)) == 0) {
		const uint8_t client[4] = {(uint8_t)~a[12], (uint8_t)~a[13], (uint8_t)~a[14], (uint8_t)~a[15]};

		origin_of_v4(client, out[n++]);
		origin_of_v4(a + 4, out[n++]);
	} else if (a[0] == 0x20 && a[1] == 0x02) {
		origin_of_v4(a + 2, out[n++]);
	} else if (memcmp(a, nat64, sizeof(nat64)) == 0 || memcmp(a, "\0\0\0\0\0\0\0\0", 8) == 0 ||
		   ((a[8] == 0 || a[8] == 2) && memcmp(a + 9, "\0\x5e\xfe", 3) == 0)) {
		origin_of_v4(a + 12, out[n++]);
	}
	return n;
}

static enum class class_of(const struct config *c, const uint8_t addr[16])
{
	uint8_t inside[4][16];
	enum class found = class_plain(c, addr);
	size_t n = found == PUBLIC && !origin_is_v4(addr) ? carried(addr, inside) : 0;

	for (size_t i = 0; i < n && found == PUBLIC; i++) {
		bool nothing = n == 4 && inside[i][12] == 0; /* see policy_class_nat64_local() */

		found = nothing ? PUBLIC : class_plain(c, inside[i]);
	}
	return found;
}

const char *origin_special(const struct config *c, const uint8_t addr[16])
{
	return classes[class_of(c, addr)].word;
}

bool origin_openable(const uint8_t addr[16], bool by_address)
{
	enum class class = class_of(NULL, addr);

	return by_address ? classes[class].by_address : classes[class].by_name;
}

bool origin_test_net(const struct config_net *net)
{
	bool inside = false;

	if (net->len > 128)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(special); i++) {
		const struct config_net *s = &special[i].net;
		bool test = special[i].class == DOCUMENTATION || special[i].class == BENCHMARKING;

		if (!test && s->len >= net->len && net_has(net, s->addr))
			return false;
		if (net->len >= s->len && net_has(s, net->addr)) {
			if (special[i].class == SINKHOLE)
				return false;
			inside = inside || test;
		}
	}
	return inside;
}

void origin_of_v4(const void *v4, uint8_t out[16])
{
	memset(out, 0, 10);
	memset(out + 10, 0xff, 2);
	memcpy(out + 12, v4, 4);
}

bool origin_is_v4(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(addr, mapped, sizeof(mapped)) == 0;
}

bool origin_parse(const char *text, uint8_t out[16])
{
	char bare[INET6_ADDRSTRLEN];
	size_t n = strlen(text);
	uint8_t v4[4], v6[16];

	if (inet_pton(AF_INET, text, v4) == 1) {
		origin_of_v4(v4, out);
		return true;
	}
	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n >= sizeof(bare))
		return false;
	memcpy(bare, text, n);
	bare[n] = '\0';
	if (inet_pton(AF_INET6, bare, v6) != 1)
		return false;
	memcpy(out, v6, sizeof(v6));
	return true;
}

const char *origin_text(const uint8_t addr[16], char out[ORIGIN_TEXT_MAX])
{
	const char *s = origin_is_v4(addr) ? inet_ntop(AF_INET, addr + 12, out, ORIGIN_TEXT_MAX)
					   : inet_ntop(AF_INET6, addr, out, ORIGIN_TEXT_MAX);

	return s ? s : "";
}
