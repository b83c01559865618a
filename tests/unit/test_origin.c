/* Classes of addresses: both ends of every special-purpose prefix, and the public neighbours. */
#include "origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *addr, *word; /* NULL: public */
} table[] = {
	{"0.0.0.0", "loopback"}, {"0.0.0.1", "reserved"}, {"0.255.255.255", "reserved"}, {"1.0.0.0", NULL},
	{"9.255.255.255", NULL}, {"10.0.0.0", "private"}, {"10.255.255.255", "private"}, {"11.0.0.0", NULL},
	{"100.63.255.255", NULL}, {"100.64.0.0", "private"}, {"100.127.255.255", "private"}, {"100.128.0.0", NULL},
	{"100.100.100.200", "metadata"}, {"126.255.255.255", NULL}, {"127.0.0.0", "loopback"}, {"127.255.255.255", "loopback"},
	{"128.0.0.0", NULL}, {"168.63.129.16", "metadata"}, {"168.63.129.17", NULL}, {"169.253.255.255", NULL},
	{"169.254.0.0", "link_local"}, {"169.254.169.254", "metadata"}, {"169.254.170.2", "metadata"},
	{"169.254.255.255", "link_local"}, {"169.255.0.0", NULL}, {"172.15.255.255", NULL}, {"172.16.0.0", "private"},
	{"172.31.255.255", "private"}, {"172.32.0.0", NULL}, {"191.255.255.255", NULL}, {"192.0.0.0", "reserved"},
	{"192.0.0.8", "reserved"}, {"192.0.0.9", "reserved"}, {"192.0.0.170", "reserved"}, {"192.0.0.255", "reserved"},
	{"192.0.1.0", NULL}, {"192.0.1.255", NULL}, {"192.0.2.0", "sinkhole"}, {"192.0.2.1", "sinkhole"},
	{"192.0.2.255", "sinkhole"}, {"192.0.3.0", NULL}, {"192.31.196.1", NULL}, {"192.52.193.1", NULL},
	{"192.88.98.255", NULL}, {"192.88.99.0", "reserved"}, {"192.88.99.255", "reserved"}, {"192.88.100.0", NULL},
	{"192.167.255.255", NULL}, {"192.168.0.0", "private"}, {"192.168.255.255", "private"}, {"192.169.0.0", NULL},
	{"192.175.48.1", NULL}, {"198.17.255.255", NULL}, {"198.18.0.0", "benchmarking"}, {"198.19.255.255", "benchmarking"},
	{"198.20.0.0", NULL}, {"198.51.99.255", NULL}, {"198.51.100.0", "documentation"}, {"198.51.100.255", "documentation"},
	{"198.51.101.0", NULL}, {"203.0.112.255", NULL}, {"203.0.113.0", "documentation"}, {"203.0.113.255", "documentation"},
	{"203.0.114.0", NULL}, {"223.255.255.255", NULL}, {"224.0.0.0", "multicast"}, {"239.255.255.255", "multicast"},
	{"240.0.0.0", "reserved"}, {"255.255.255.254", "reserved"}, {"255.255.255.255", "multicast"},
	/* IPv6 by prefix */
	{"::", "loopback"}, {"::1", "loopback"}, {"100::1", "reserved"}, {"100:0:0:1::1", "reserved"}, {"200::1", "reserved"},
	{"1fff:ffff::1", "reserved"}, {"2000::1", NULL}, {"2001:1::", "reserved"}, {"2001:1::1", NULL}, {"2001:1::2", NULL},
	{"2001:1::3", NULL}, {"2001:1::4", "reserved"}, {"2001:2::1", "benchmarking"}, {"2001:2:0:ffff::1", "benchmarking"},
	{"2001:2:1::1", "reserved"}, {"2001:3::1", NULL}, {"2001:3:ffff::1", NULL}, {"2001:4::1", "reserved"},
	{"2001:4:111:ffff::", "reserved"}, {"2001:4:112::1", NULL}, {"2001:4:113::", "reserved"}, {"2001:10::1", "reserved"},
	{"2001:1f:ffff::", "reserved"}, {"2001:20::1", NULL}, {"2001:2f:ffff::", NULL}, {"2001:30::1", NULL},
	{"2001:3f:ffff::", NULL}, {"2001:40::1", "reserved"}, {"2001:1ff:ffff::1", "reserved"}, {"2001:200::1", NULL},
	{"2001:db7:ffff::1", NULL}, {"2001:db8::", "sinkhole"}, {"2001:db8::1", "sinkhole"},
	{"2001:db8::ffff:ffff:ffff:ffff", "sinkhole"}, {"2001:db8:0:1::", "documentation"}, {"2001:db8:ffff::1", "documentation"},
	{"2001:db9::1", NULL}, {"2620:4f:8000::1", NULL}, {"3ffe:ffff::1", NULL}, {"3fff::1", "documentation"},
	{"3fff:fff:ffff::1", "documentation"}, {"3fff:1000::1", NULL}, {"4000::1", "reserved"}, {"5f00::1", "reserved"},
	{"fbff::1", "reserved"}, {"fc00::1", "private"}, {"fdff:ffff::1", "private"}, {"fd00:ec2::254", "metadata"},
	{"fe80::1", "link_local"}, {"febf:ffff::1", "link_local"}, {"fec0::1", "private"}, {"feff:ffff::1", "private"},
	{"ff00::", "multicast"}, {"ff02::1", "multicast"}, {"ffff::1", "multicast"}, {"2606:4700::1111", NULL},
	/* IPv4 inside: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP */
	{"::ffff:8.8.8.8", NULL}, {"::ffff:10.0.0.1", "private"}, {"::ffff:192.0.2.1", "sinkhole"}, {"::8.8.8.8", NULL},
	{"::127.0.0.1", "loopback"}, {"::203.0.113.7", "documentation"}, {"::ffff:0:169.254.169.254", "metadata"},
	{"::ffff:0:198.18.0.1", "benchmarking"}, {"64:ff9b::8.8.8.8", NULL}, {"64:ff9b::10.0.0.1", "private"},
	{"64:ff9b::169.254.169.254", "metadata"}, {"64:ff9b::192.0.2.1", "sinkhole"}, {"64:ff9b::198.51.100.1", "documentation"},
	{"64:ff9b:1::10.0.0.1", "private"}, {"64:ff9b:1::8.8.8.8", NULL}, {"64:ff9b:1::198.51.100.1", "documentation"},
	{"64:ff9b:1:0a00:0:0100::", "private"}, {"64:ff9b:2::1", "reserved"}, {"2002:0a00:0001::1", "private"},
	{"2002:0808:0808::1", NULL}, {"2002:c633:6401::1", "documentation"}, {"2002:c000:0201::1", "sinkhole"},
	{"2002:7f00:1::", "loopback"}, {"2001:0:808:808::f7f7:f7f7", NULL}, {"2001:0:808:808::f5ff:fffe", "private"},
	{"2001:0:a00:1::f7f7:f7f7", "private"}, {"2001:0:808:808::39cc:9bfe", "documentation"},
	{"2001:0:c633:6401::f7f7:f7f7", "documentation"}, {"2606:4700::5efe:10.0.0.1", "private"},
	{"2606:4700::200:5efe:127.0.0.1", "loopback"}, {"2606:4700::5efe:8.8.8.8", NULL},
	{"2606:4700::5efe:203.0.113.1", "documentation"}, {"fe80::5efe:8.8.8.8", "link_local"},
};

static void addr_of(const char *text, uint8_t out[16])
{
	if (!origin_parse(text, out))
		fail_msg("not parsed: %s", text);
}

static void classes(void **state)
{
	const struct config c = {.public_count = 0};
	uint8_t a[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const char *word, *without;

		addr_of(table[i].addr, a);
		word = origin_special(&c, a);
		without = origin_special(NULL, a);
		if (!!word != !!table[i].word || (word && strcmp(word, table[i].word) != 0))
			fail_msg("%s is %s, not %s", table[i].addr, word ? word : "public",
				 table[i].word ? table[i].word : "public");
		assert_ptr_equal(word, without);
	}
}

static void openable(void **state)
{
	static const struct {
		const char *addr;
		bool by_name, by_address;
	} t[] = {
		{"8.8.8.8", true, true}, {"10.0.0.1", true, true}, {"127.0.0.1", true, true}, {"169.254.1.1", true, true},
		{"fd00::1", true, true}, {"::1", true, true}, {"169.254.169.254", false, true}, {"fd00:ec2::254", false, true},
		{"64:ff9b::169.254.169.254", false, true}, {"198.18.0.1", false, true}, {"203.0.113.1", false, true},
		{"2001:db8:1::1", false, true}, {"224.0.0.1", false, false}, {"ff02::1", false, false},
		{"255.255.255.255", false, false}, {"240.0.0.1", false, false}, {"0.1.2.3", false, false}, {"4000::1", false, false},
		{"192.0.2.1", false, false}, {"2001:db8::1", false, false}, {"2002:c000:0201::1", false, false},
	};
	static const uint8_t sink4[16] = CONFIG_SINKHOLE4, sink6[16] = CONFIG_SINKHOLE6;
	uint8_t a[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		addr_of(t[i].addr, a);
		if (origin_openable(a, false) != t[i].by_name || origin_openable(a, true) != t[i].by_address)
			fail_msg("%s", t[i].addr);
	}
	assert_string_equal(origin_special(NULL, sink4), "sinkhole");
	assert_string_equal(origin_special(NULL, sink6), "sinkhole");
}

static struct config_net net(const char *addr, uint32_t len)
{
	struct config_net n = {.len = len};

	addr_of(addr, n.addr);
	return n;
}

static void treat_as_public(void **state)
{
	struct config c = {.public_count = 3};
	uint8_t a[16];

	(void)state;
	c.treat_as_public[0] = net("203.0.113.0", 120);
	c.treat_as_public[1] = net("198.18.0.0", 112);
	c.treat_as_public[2] = net("2001:db8:1::", 48);
#define IS(addr, word) (addr_of(addr, a), assert_string_equal(origin_special(&c, a) ? origin_special(&c, a) : "-", word))
	IS("203.0.113.1", "-");
	IS("::203.0.113.1", "-");
	IS("64:ff9b::203.0.113.1", "-");
	IS("198.18.255.1", "-");
	IS("198.19.0.1", "benchmarking");
	IS("198.51.100.1", "documentation");
	IS("2001:db8:1::1", "-");
	IS("2001:db8:2::1", "documentation");
	/* Whatever stands in there, nothing else opens. */
	c.treat_as_public[0] = net("::", 0);
	IS("10.0.0.1", "private");
	IS("192.0.2.1", "sinkhole");
	IS("2001:db8::1", "sinkhole");
	IS("169.254.169.254", "metadata");
	IS("::1", "loopback");
	IS("2001:1::4", "reserved");
	c.treat_as_public[0].len = 129;
	IS("203.0.113.1", "documentation");
}

static void test_nets(void **state)
{
	static const struct {
		const char *addr;
		uint32_t len;
		bool ok;
	} t[] = {
		{"203.0.113.0", 120, true}, {"203.0.113.128", 121, true}, {"203.0.113.7", 128, true}, {"198.51.100.0", 120, true},
		{"198.18.0.0", 111, true}, {"2001:db8:1::", 48, true}, {"2001:db8:0:1::", 64, true}, {"2001:2::", 48, true},
		{"3fff::", 20, true}, {"192.0.2.0", 120, false}, {"192.0.2.1", 128, false}, {"192.0.2.128", 121, false},
		{"203.0.112.0", 119, false}, {"0.0.0.0", 96, false}, {"::", 0, false}, {"10.0.0.0", 104, false},
		{"8.8.8.0", 120, false}, {"127.0.0.1", 128, false}, {"2001:db8::", 32, false}, {"2001:db8::", 64, false},
		{"2001:db8::", 63, false}, {"2001:db8::1", 128, false}, {"2001::", 16, false}, {"2001:200::", 32, false},
		{"fd00::", 8, false}, {"198.18.0.0", 110, false}, {"203.0.113.0", 129, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct config_net n = net(t[i].addr, t[i].len);

		if (origin_test_net(&n) != t[i].ok)
			fail_msg("%s, %u", t[i].addr, t[i].len);
	}
}

static void texts(void **state)
{
	static const char *const bad[] = {
		"", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.4 ", " 1.2.3.4", "01.2.3.4", "1.2.3.256", "0x7f.0.0.1", "1.2.3.4/8",
		"1.2.3.4:80", "[1.2.3.4]", "[", "[]", "[::1", "::1]", "[[::1]]", "[::1]:80", ":::", "1::2::3", "::g", "fe80::1%1",
		"1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1.2.3", "::12345", "a.example.com", "localhost",
		"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]",
	};
	static const struct {
		const char *in, *out;
	} good[] = {
		{"1.2.3.4", "1.2.3.4"}, {"::ffff:1.2.3.4", "1.2.3.4"}, {"[::1]", "::1"}, {"2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
		{"1:0:0:2:0:0:0:3", "1:0:0:2::3"}, {"1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"}, {"::", "::"}, {"ff02::1", "ff02::1"},
	};
	char text[ORIGIN_TEXT_MAX];
	uint8_t a[16], b[16];

	(void)state;
	memset(a, 7, sizeof(a));
	memset(b, 7, sizeof(b));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (origin_parse(bad[i], a))
			fail_msg("taken: \"%s\"", bad[i]);
	assert_memory_equal(a, b, sizeof(a));
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		addr_of(good[i].in, a);
		assert_string_equal(origin_text(a, text), good[i].out);
		addr_of(text, b);
		assert_memory_equal(a, b, sizeof(a));
	}
	memset(a, 0xff, sizeof(a));
	assert_string_equal(origin_text(a, text), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	assert_false(origin_is_v4(a));
	origin_of_v4("\x01\x02\x03\x04", a);
	assert_true(origin_is_v4(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes), cmocka_unit_test(openable), cmocka_unit_test(treat_as_public),
		cmocka_unit_test(test_nets), cmocka_unit_test(texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
