/* Heads that must be refused, each in every split; heads that must pass, truncated, flipped and written
 * out again; bodies in chunks likewise. */
#include "http1.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum kind { REQUEST, RESPONSE, TRAILERS };

/* What one head came to: parse and meaning together. */
struct outcome {
	enum http1_result res;
	enum http1_bad bad; /* of either step */
	struct http1_head head;
	struct http1_meaning meaning;
};

static enum http1_result feed(enum kind kind, struct http1_scan *s, const char *p, size_t len, struct http1_head *h)
{
	switch (kind) {
	case REQUEST:
		return http1_request(s, p, len, h);
	case RESPONSE:
		return http1_response(s, p, len, h);
	default:
		return http1_trailers(s, p, len, h);
	}
}

static void mean(enum kind kind, struct outcome *o)
{
	struct http1_slice get = {"GET", 3};
	int rc = 0;

	o->bad = o->res == HTTP1_BAD ? o->head.bad : HTTP1_BAD_NONE;
	if (o->res != HTTP1_DONE)
		return;
	if (kind == REQUEST)
		rc = http1_request_meaning(&o->head, &o->meaning);
	else if (kind == RESPONSE)
		rc = http1_response_meaning(&o->head, get, false, &o->meaning);
	if (rc < 0) {
		assert_int_equal(rc, -EBADMSG);
		assert_int_not_equal(o->meaning.bad, HTTP1_BAD_NONE);
		o->res = HTTP1_BAD;
		o->bad = o->meaning.bad;
	}
}

/* The head given in pieces: up to cut, then the rest; cut 0: at once; SIZE_MAX: byte by byte. */
static void run(enum kind kind, const char *p, size_t len, size_t cut, struct outcome *o)
{
	struct http1_scan s = {0};
	size_t n = cut == SIZE_MAX ? 1 : cut ? cut : len;
	int which = 0;

	memset(o, 0, sizeof(*o));
	for (;;) {
		if (n > len)
			n = len;
		o->res = feed(kind, &s, flush_copy(which ^= 1, p, n), n, &o->head);
		if (o->res != HTTP1_MORE || n == len)
			break;
		n = cut == SIZE_MAX ? n + 1 : len;
	}
	mean(kind, o);
}

static void same(const struct outcome *a, const struct outcome *b, const char *what, size_t cut)
{
	if (a->res != b->res || a->bad != b->bad ||
	    (a->res == HTTP1_DONE && (a->head.raw.len != b->head.raw.len || a->head.field_count != b->head.field_count)))
		fail_msg("%s: cut at %zu: %d/%s, whole: %d/%s", what, cut, b->res, http1_bad_word(b->bad), a->res,
			 http1_bad_word(a->bad));
}

/* Every split gives what the whole gives. */
static void all_splits(enum kind kind, const char *p, size_t len, struct outcome *whole)
{
	struct outcome o;

	run(kind, p, len, 0, whole);
	for (size_t cut = 1; cut < len; cut++) {
		run(kind, p, len, cut, &o);
		same(whole, &o, p, cut);
	}
	run(kind, p, len, SIZE_MAX, &o);
	same(whole, &o, p, SIZE_MAX);
}

struct row {
	const char *p;
	size_t len;
	enum http1_bad bad;
};
#define ROW(text, why) {text, sizeof(text) - 1, HTTP1_BAD_##why}
#define H "Host: a.example\r\n"
#define Q(fields) "POST /x HTTP/1.1\r\n" H fields "\r\n"
#define S(fields) "HTTP/1.1 200 OK\r\n" fields "\r\n"

static const struct row bad_requests[] = {
	/* lines */
	ROW("GET / HTTP/1.1\nHost: a.example\r\n\r\n", BARE_LF),
	ROW("GET / HTTP/1.1\r\nHost: a.example\n\r\n", BARE_LF),
	ROW("GET / HTTP/1.1\r\nHost: a.example\r\n\n", BARE_LF),
	ROW("GET / HTTP/1.1\r\nHost: a.example\n\n", BARE_LF),
	ROW("GET / HTTP/1.1\rHost: a.example\r\n\r\n", BARE_CR),
	ROW("GET / HTTP/1.1\r\nX: a\rb\r\n" H "\r\n", BARE_CR),
	ROW("GET / HTTP/1.1\r\n" H "\r\r\n", BARE_CR),
	ROW("GET / HTTP/1.1\r\n" H "\rX", BARE_CR),
	ROW("GET / HTTP/1.1\r\r\n" H "\r\n", BARE_CR),
	ROW("\r\nGET / HTTP/1.1\r\n" H "\r\n", EMPTY_LINE),
	ROW("\nGET / HTTP/1.1\r\n" H "\r\n", EMPTY_LINE),
	ROW("GET / HTTP/1.1\r\n Host: a.example\r\n\r\n", FOLD),
	ROW("GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", FOLD),
	ROW("GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", FOLD),
	ROW("GET / HTTP/1.1\r\n" H " \r\n\r\n", FOLD),
	ROW(Q("X: a\0b\r\n"), BYTE),
	ROW(Q("X: a\1b\r\n"), BYTE),
	ROW(Q("X: a\vb\r\n"), BYTE),
	ROW(Q("X: a\fb\r\n"), BYTE),
	ROW(Q("X: a\033b\r\n"), BYTE),
	ROW(Q("X: a\177b\r\n"), BYTE),
	ROW(Q("X\0: a\r\n"), BYTE),
	ROW(Q("\0X: a\r\n"), BYTE),
	ROW("GET /\0 HTTP/1.1\r\n" H "\r\n", BYTE),
	ROW("\0GET / HTTP/1.1\r\n" H "\r\n", BYTE),
	/* request line */
	ROW(" GET / HTTP/1.1\r\n" H "\r\n", METHOD),
	ROW("\tGET / HTTP/1.1\r\n" H "\r\n", METHOD),
	ROW("GET\r\n" H "\r\n", METHOD),
	ROW("G(T / HTTP/1.1\r\n" H "\r\n", METHOD),
	ROW("GET\t/ HTTP/1.1\r\n" H "\r\n", METHOD),
	ROW("G\303\211T / HTTP/1.1\r\n" H "\r\n", METHOD),
	ROW("\"GET\" / HTTP/1.1\r\n" H "\r\n", METHOD),
	ROW("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1\r\n" H "\r\n", METHOD),
	ROW("GET /\r\n\r\n", VERSION),
	ROW("GET /\r\n" H "\r\n", VERSION),
	ROW("GET / \r\n" H "\r\n", VERSION),
	ROW("GET / HTTP/0.9\r\n" H "\r\n", VERSION),
	ROW("GET / HTTP/1.2\r\n" H "\r\n", VERSION),
	ROW("GET / HTTP/2.0\r\n" H "\r\n", VERSION),
	ROW("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", TARGET),
	ROW("GET / HTTP/1.1 \r\n" H "\r\n", VERSION),
	ROW("GET / HTTP/1.10\r\n" H "\r\n", VERSION),
	ROW("GET / HTTP/01.1\r\n" H "\r\n", VERSION),
	ROW("GET / http/1.1\r\n" H "\r\n", VERSION),
	ROW("GET / HTTP/1,1\r\n" H "\r\n", VERSION),
	ROW("GET / HTTPS/1.1\r\n" H "\r\n", VERSION),
	ROW("GET / XHTTP/1.1\r\n" H "\r\n", VERSION),
	ROW("GET /\tHTTP/1.1\r\n" H "\r\n", VERSION),
	ROW("GET / x HTTP/1.1\r\n" H "\r\n", VERSION),
	ROW("GET  / HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET /  HTTP/1.1\r\n" H "\r\n", VERSION),
	ROW("GET /a#b HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET /a\tb HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET /\303\244 HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET * HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("OPTIONS ** HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET a.example HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET a.example:80 HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET x HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET ?a HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET ftp://a.example/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET file:///etc/passwd HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http:// HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http:/// HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://?x HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http:a.example HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://u@a.example/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://u:p@a.example/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://a.example:/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://a.example:0/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://a.example:65536/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://a.example\\@b.example/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://[::1/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("GET http://b.example/ HTTP/1.1\r\n" H "\r\n", HOST_DIFFERS),
	ROW("GET http://a.example:81/ HTTP/1.1\r\n" H "\r\n", HOST_DIFFERS),
	ROW("GET https://a.example:80/ HTTP/1.1\r\n" H "\r\n", HOST_DIFFERS),
	ROW("GET http://a.example/ HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", HOST_DIFFERS),
	ROW("CONNECT a.example HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT / HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT * HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT https://a.example:443 HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT https://a.example/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT a.example:443/ HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT u@a.example:443 HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT a.example:0 HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT a.example:70000 HTTP/1.1\r\n" H "\r\n", TARGET),
	ROW("CONNECT b.example:443 HTTP/1.1\r\n" H "\r\n", HOST_DIFFERS),
	ROW("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", HOST_DIFFERS),
	ROW("CONNECT a.example:443 HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n", FRAMING),
	ROW("CONNECT a.example:443 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", FRAMING),
	ROW("TRACE / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n", FRAMING),
	/* names */
	ROW(Q("X : a\r\n"), NAME),
	ROW(Q("X\t: a\r\n"), NAME),
	ROW(Q("X y: a\r\n"), NAME),
	ROW(Q(": a\r\n"), NAME),
	ROW(Q("X(: a\r\n"), NAME),
	ROW(Q("X[]: a\r\n"), NAME),
	ROW(Q("X@y: a\r\n"), NAME),
	ROW(Q("\303\244: a\r\n"), NAME),
	ROW(Q("Content-Length : 5\r\n"), NAME),
	ROW(Q("Transfer-Encoding : chunked\r\n"), NAME),
	ROW(Q("X\r\n"), NO_COLON),
	ROW(Q("GET / HTTP/1.1\r\n"), NO_COLON),
	/* Host */
	ROW("GET / HTTP/1.1\r\n\r\n", HOST_MISSING),
	ROW("GET / HTTP/1.1\r\nHosts: a.example\r\n\r\n", HOST_MISSING),
	ROW("GET / HTTP/1.1\r\n" H H "\r\n", HOST_TWICE),
	ROW("GET / HTTP/1.1\r\n" H "hOST: b.example\r\n\r\n", HOST_TWICE),
	ROW("GET / HTTP/1.0\r\n" H H "\r\n", HOST_TWICE),
	ROW("GET / HTTP/1.1\r\nHost:\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example b.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: http://a.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example/\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: .a.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a..example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: -a.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a-.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example:0\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example:080\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example:+80\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example: 80\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example:80:80\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example:99999\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a.example:123456\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: *.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: a%2eexample\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: \303\244.example\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: 127.1\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: 2130706433\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: 0x7f000001\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: 0x7f.1\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: 127.0.0.01\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: 1.2.3.4.5\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: [::1%25eth0]\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: [1.2.3.4]\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: [[::1]]\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: []\r\n\r\n", HOST),
	ROW("GET / HTTP/1.1\r\nHost: [v1.x]\r\n\r\n", HOST),
	/* framing */
	ROW(Q("Content-Length: 5\r\nContent-Length: 5\r\n"), LENGTH_TWICE),
	ROW(Q("Content-Length: 5\r\ncontent-length: 6\r\n"), LENGTH_TWICE),
	ROW(Q("Content-Length: 5, 5\r\n"), LENGTH),
	ROW(Q("Content-Length: +5\r\n"), LENGTH),
	ROW(Q("Content-Length: -5\r\n"), LENGTH),
	ROW(Q("Content-Length: 5 \t6\r\n"), LENGTH),
	ROW(Q("Content-Length: 0x5\r\n"), LENGTH),
	ROW(Q("Content-Length: 5a\r\n"), LENGTH),
	ROW(Q("Content-Length: 5.0\r\n"), LENGTH),
	ROW(Q("Content-Length:\r\n"), LENGTH),
	ROW(Q("Content-Length: \"5\"\r\n"), LENGTH),
	ROW(Q("Content-Length: 9223372036854775808\r\n"), LENGTH),
	ROW(Q("Content-Length: 18446744073709551621\r\n"), LENGTH),
	ROW(Q("Content-Length: 00000000000000000005\r\n"), LENGTH),
	ROW(Q("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), FRAMING),
	ROW(Q("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), FRAMING),
	ROW(Q("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), CODING),
	ROW(Q("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"), CODING),
	ROW(Q("Transfer-Encoding: identity\r\n"), CODING),
	ROW(Q("Transfer-Encoding: gzip, chunked\r\n"), CODING),
	ROW(Q("Transfer-Encoding: chunked, gzip\r\n"), CODING),
	ROW(Q("Transfer-Encoding: chunked, chunked\r\n"), CODING),
	ROW(Q("Transfer-Encoding: chunked,\r\n"), CODING),
	ROW(Q("Transfer-Encoding: ,chunked\r\n"), CODING),
	ROW(Q("Transfer-Encoding: chunked;q=1\r\n"), CODING),
	ROW(Q("Transfer-Encoding: xchunked\r\n"), CODING),
	ROW(Q("Transfer-Encoding: chunke\r\n"), CODING),
	ROW(Q("Transfer-Encoding: \"chunked\"\r\n"), CODING),
	ROW(Q("Transfer-Encoding: chun ked\r\n"), CODING),
	ROW(Q("Transfer-Encoding:\r\n"), CODING),
	ROW(Q("Transfer-Encoding: chunked\302\240\r\n"), CODING),
	ROW("POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", CODING),
	/* the rest */
	ROW(Q("Connection: Host\r\n"), CONNECTION),
	ROW(Q("Connection: close, Content-Length\r\n"), CONNECTION),
	ROW(Q("Connection: transfer-encoding\r\n"), CONNECTION),
	ROW(Q("Connection: Authorization\r\n"), CONNECTION),
	ROW(Q("Connection: cookie\r\n"), CONNECTION),
	ROW(Q("Connection: a b\r\n"), CONNECTION),
	ROW(Q("Connection: \"close\"\r\n"), CONNECTION),
	ROW(Q("Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,a,b,c,d,e,f,g\r\n"), CONNECTION),
	ROW(Q("Expect: 200-ok\r\n"), EXPECT),
	ROW(Q("Expect:\r\n"), EXPECT),
	ROW(Q("Expect: 100-continue\r\nExpect: 100-continue\r\n"), EXPECT),
};

static const struct row bad_responses[] = {
	ROW("HTTP/1.1 200 OK\n\n", BARE_LF),
	ROW("HTTP/1.1 200 OK\r\nX: a\n\r\n", BARE_LF),
	ROW("HTTP/1.1 200 OK\r\r\n\r\n", BARE_CR),
	ROW("HTTP/1.1 200 O\0K\r\n\r\n", BYTE),
	ROW("\r\nHTTP/1.1 200 OK\r\n\r\n", EMPTY_LINE),
	ROW("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", FOLD),
	ROW("HTTP/2 200\r\n\r\n", VERSION),
	ROW("HTTP/1.2 200 OK\r\n\r\n", VERSION),
	ROW("HTTP/0.9 200 OK\r\n\r\n", VERSION),
	ROW("http/1.1 200 OK\r\n\r\n", VERSION),
	ROW(" HTTP/1.1 200 OK\r\n\r\n", VERSION),
	ROW("ICY 200 OK\r\n\r\n", VERSION),
	ROW("HTTP/1.1\r\n\r\n", VERSION),
	ROW("HTTP/1.1 20\r\n\r\n", VERSION),
	ROW("HTTP/1.1  200 OK\r\n\r\n", STATUS),
	ROW("HTTP/1.1\t200 OK\r\n\r\n", STATUS),
	ROW("HTTP/1.1 2000 OK\r\n\r\n", STATUS),
	ROW("HTTP/1.1 099 OK\r\n\r\n", STATUS),
	ROW("HTTP/1.1 2x0 OK\r\n\r\n", STATUS),
	ROW("HTTP/1.1 +20 OK\r\n\r\n", STATUS),
	ROW("HTTP/1.1 200\tOK\r\n\r\n", STATUS),
	ROW("HTTP/1.1 200OK\r\n\r\n", STATUS),
	ROW(S("X : a\r\n"), NAME),
	ROW(S("X\r\n"), NO_COLON),
	ROW(S("Content-Length: 5\r\nContent-Length: 5\r\n"), LENGTH_TWICE),
	ROW(S("Content-Length: 5,5\r\n"), LENGTH),
	ROW(S("Content-Length: -1\r\n"), LENGTH),
	ROW(S("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), FRAMING),
	ROW(S("Transfer-Encoding: gzip, chunked\r\n"), CODING),
	ROW(S("Transfer-Encoding: identity\r\n"), CODING),
	ROW("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CODING),
	ROW("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", FRAMING),
	ROW("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", FRAMING),
	ROW("HTTP/1.1 100 Go\r\nContent-Length: 3\r\n\r\n", FRAMING),
	ROW("HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n", FRAMING),
	ROW("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", UPGRADE),
	ROW(S("Connection: content-length\r\nContent-Length: 3\r\n"), CONNECTION),
	ROW(S("Connection: set-cookie\r\nSet-Cookie: a=b\r\n"), CONNECTION),
};

static const struct row bad_trailers[] = {
	ROW("\n", BARE_LF),
	ROW("\rX", BARE_CR),
	ROW(" X: a\r\n\r\n", FOLD),
	ROW("X : a\r\n\r\n", NAME),
	ROW("X\r\n\r\n", NO_COLON),
	ROW("X: a\r\n b\r\n\r\n", FOLD),
	ROW("X: a\0\r\n\r\n", BYTE),
	ROW("Content-Length: 5\r\n\r\n", TRAILER),
	ROW("transfer-encoding: chunked\r\n\r\n", TRAILER),
	ROW("Host: a.example\r\n\r\n", TRAILER),
	ROW("X: a\r\nAuthorization: x\r\n\r\n", TRAILER),
	ROW("Set-Cookie: a=b\r\n\r\n", TRAILER),
	ROW("Connection: close\r\n\r\n", TRAILER),
	ROW("Proxy-Authorization: x\r\n\r\n", TRAILER),
	ROW("Content-Type: x\r\n\r\n", TRAILER),
	ROW("X-AS-Target-URL: x\r\n\r\n", TRAILER),
};

static void refuse_all(enum kind kind, const struct row *rows, size_t count)
{
	struct outcome o;

	for (size_t i = 0; i < count; i++) {
		all_splits(kind, rows[i].p, rows[i].len, &o);
		if (o.res != HTTP1_BAD || o.bad != rows[i].bad)
			fail_msg("row %zu: %.40s: got %d %s, not %s", i, rows[i].p, o.res, http1_bad_word(o.bad),
				 http1_bad_word(rows[i].bad));
	}
}

static void test_refused(void **state)
{
	(void)state;
	refuse_all(REQUEST, bad_requests, ARRAY_SIZE(bad_requests));
	refuse_all(RESPONSE, bad_responses, ARRAY_SIZE(bad_responses));
	refuse_all(TRAILERS, bad_trailers, ARRAY_SIZE(bad_trailers));
	assert_true(ARRAY_SIZE(bad_requests) + ARRAY_SIZE(bad_responses) >= 80);
}

static const char *const good_requests[] = {
	"GET / HTTP/1.1\r\n" H "\r\n",
	"GET /a/b?c=d&e=%20 HTTP/1.1\r\nhOsT:\t A.Example:8443 \t\r\nX-Y_z.1: a  b\r\nEmpty:\r\n\r\n",
	"POST /x HTTP/1.1\r\n" H "Content-Length: 10\r\nContent-Type: text/plain\r\n\r\n",
	"PUT /x HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\nTrailer: X\r\nExpect: 100-Continue\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\n" H "\r\n",
	"OPTIONS http://a.example HTTP/1.1\r\n" H "\r\n",
	"GET http://a.example:8080?x=y HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
	"GET HTTPS://A.example/p HTTP/1.1\r\nHost: a.example:443\r\nConnection: ,keep-alive, , X-Drop\r\nX-Drop: 1\r\n\r\n",
	"GET http://a.example/ HTTP/1.0\r\n\r\n",
	"GET http://[2001:DB8::1]:81/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"GET / HTTP/1.0\r\n" H "Expect: 100-continue\r\n\r\n",
	"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Connection: Keep-Alive\r\n\r\n",
	"CONNECT a.example:443 HTTP/1.0\r\n\r\n",
	"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:DB8:0::1]\r\nContent-Length: 0\r\n\r\n",
	"GET /chat HTTP/1.1\r\n" H "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x==\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\nTE: trailers\r\nConnection: TE, close\r\nKeep-Alive: 5\r\n\r\n",
	"M-SEARCH / HTTP/1.1\r\nHost: my_host.a-b.example\r\nX: \303\244\r\nAccept-Encoding: br\r\n\r\n",
};

static const char *const good_responses[] = {
	S("Content-Length: 5\r\n"),
	S("Transfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"),
	S(""),
	"HTTP/1.1 200\r\n\r\n",
	"HTTP/1.0 404 \r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 999 Go away: now\r\nServer: \tx\r\n\r\n",
	"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"x\"\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
	"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nUpgrade: h2\r\nConnection: Upgrade, close\r\nProxy-Status: x\r\nProxy-Authenticate: Basic\r\n\r\n",
};

static size_t write_out(enum kind kind, const struct outcome *o, char *out, size_t cap)
{
	struct http1_out how = {.head = &o->head, .meaning = &o->meaning, .framing = o->meaning.framing,
				.length = o->meaning.length};
	struct wr w = wr_of(out, cap);
	int rc = kind == REQUEST ? http1_write_request(&w, &how) : http1_write_response(&w, &how);

	if (rc < 0)
		assert_true(w.full);
	return rc < 0 ? 0 : w.len;
}

/* What was accepted can be written, and reads back as the same question. */
static void roundtrip(enum kind kind, const struct outcome *o)
{
	static char out[2 * HTTP1_HEAD_MAX];
	struct outcome back;
	size_t len = write_out(kind, o, out, sizeof(out));

	if (kind == REQUEST && (o->head.form == HTTP1_AUTHORITY || !o->meaning.host[0])) {
		assert_int_equal(len, 0);
		return;
	}
	assert_true(len > 0);
	run(kind, out, len, 0, &back);
	if (back.res != HTTP1_DONE)
		fail_msg("written: %.*s: %s", (int)len, out, http1_bad_word(back.bad));
	assert_int_equal(back.head.raw.len, len);
	assert_int_equal(back.meaning.framing, o->meaning.framing);
	assert_int_equal(back.meaning.length, o->meaning.length);
	assert_int_equal(back.head.minor, 1);
	if (kind == REQUEST) {
		assert_string_equal(back.meaning.host, o->meaning.host);
		assert_int_equal(back.head.method.len, o->head.method.len);
		assert_true(back.head.form == HTTP1_ORIGIN || back.head.form == HTTP1_ASTERISK);
	} else {
		assert_int_equal(back.head.status, o->head.status);
	}
}

static void check_good(enum kind kind, const char *p)
{
	struct outcome o, part;
	size_t len = strlen(p);
	char longer[1024];

	all_splits(kind, p, len, &o);
	if (o.res != HTTP1_DONE)
		fail_msg("%s: %s", p, http1_bad_word(o.bad));
	assert_int_equal(o.head.raw.len, len);
	for (size_t n = 0; n < len; n++) {
		run(kind, p, n, 0, &part);
		assert_int_equal(part.res, HTTP1_MORE);
	}
	/* what follows is not looked at */
	snprintf(longer, sizeof(longer), "%s\n\n\1", p);
	run(kind, longer, len + 3, 0, &part);
	same(&o, &part, p, 0);
	run(kind, p, len, 0, &o);
	roundtrip(kind, &o);
}

static void check_flips(enum kind kind, const char *p)
{
	size_t len = strlen(p);
	char flipped[1024];
	struct outcome a, b;

	for (size_t bit = 0; bit < len * 8; bit++) {
		memcpy(flipped, p, len);
		flipped[bit / 8] = (char)(flipped[bit / 8] ^ 1 << bit % 8);
		run(kind, flipped, len, SIZE_MAX, &b);
		run(kind, flipped, len, 0, &a);
		same(&a, &b, p, bit);
		if (a.res == HTTP1_DONE)
			roundtrip(kind, &a);
	}
}

static void test_accepted(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good_requests); i++)
		check_good(REQUEST, good_requests[i]);
	for (size_t i = 0; i < ARRAY_SIZE(good_responses); i++)
		check_good(RESPONSE, good_responses[i]);
}

static void test_flips(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good_requests); i++)
		check_flips(REQUEST, good_requests[i]);
	for (size_t i = 0; i < ARRAY_SIZE(good_responses); i++)
		check_flips(RESPONSE, good_responses[i]);
}

static void asked(const char *text, struct outcome *o)
{
	run(REQUEST, text, strlen(text), 0, o);
	if (o->res != HTTP1_DONE)
		fail_msg("%s: %s", text, http1_bad_word(o->bad));
}

static void is_slice(struct http1_slice s, const char *want)
{
	if (!http1_eq(s, want))
		fail_msg("\"%.*s\" is not \"%s\"", (int)s.len, s.p, want);
}

static void test_request_meaning(void **state)
{
	struct outcome o;

	(void)state;
	asked(good_requests[1], &o);
	assert_string_equal(o.meaning.host, "a.example");
	assert_int_equal(o.meaning.port, 8443);
	assert_true(o.meaning.keep_alive);
	is_slice(o.head.fields[0].name, "hOsT");
	is_slice(o.head.fields[0].value, "A.Example:8443");
	is_slice(o.head.fields[1].value, "a  b");
	is_slice(o.head.fields[2].value, "");
	is_slice(o.meaning.path, "/a/b");
	is_slice(o.meaning.query, "c=d&e=%20");
	asked(good_requests[2], &o);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_LENGTH);
	assert_int_equal(o.meaning.length, 10);
	assert_null(o.meaning.query.p);
	asked(good_requests[3], &o);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_CHUNKED);
	assert_true(o.meaning.expect_continue);
	asked(good_requests[5], &o);
	is_slice(o.meaning.target, "*");
	asked(good_requests[6], &o);
	is_slice(o.meaning.target, "?x=y");
	is_slice(o.meaning.path, "/");
	assert_int_equal(o.meaning.scheme, HTTP1_SCHEME_HTTP);
	assert_int_equal(o.meaning.port, 8080);
	asked(good_requests[7], &o);
	assert_int_equal(o.meaning.scheme, HTTP1_SCHEME_HTTPS);
	assert_int_equal(o.meaning.port, 443);
	assert_true(http1_is_hop(&o.meaning, 1) && http1_is_hop(&o.meaning, 2) && !http1_is_hop(&o.meaning, 0));
	asked(good_requests[8], &o);
	assert_false(o.meaning.keep_alive);
	assert_string_equal(o.meaning.host, "a.example");
	assert_int_equal(o.meaning.port, 80);
	asked(good_requests[9], &o);
	assert_true(o.meaning.keep_alive && o.meaning.address);
	assert_string_equal(o.meaning.host, "2001:db8::1");
	asked(good_requests[10], &o);
	assert_false(o.meaning.expect_continue);
	assert_true(http1_is_hop(&o.meaning, 1));
	asked(good_requests[11], &o);
	assert_int_equal(o.head.form, HTTP1_AUTHORITY);
	assert_int_equal(o.meaning.port, 443);
	asked(good_requests[14], &o);
	assert_true(o.meaning.websocket);
	assert_false(http1_is_hop(&o.meaning, 1) || http1_is_hop(&o.meaning, 2));
	asked(good_requests[15], &o);
	assert_false(o.meaning.keep_alive);
	assert_true(o.meaning.address);
	asked("GET / HTTP/1.0\r\n\r\n", &o);
	assert_string_equal(o.meaning.host, "");
	/* not a websocket: no Connection, another protocol too, twice, other method, a body, 1.0 */
	asked("GET / HTTP/1.1\r\n" H "Upgrade: websocket\r\n\r\n", &o);
	assert_false(o.meaning.websocket);
	asked("GET / HTTP/1.1\r\n" H "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", &o);
	assert_false(o.meaning.websocket);
	asked("GET / HTTP/1.1\r\n" H "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n", &o);
	assert_false(o.meaning.websocket);
	asked("POST / HTTP/1.1\r\n" H "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", &o);
	assert_false(o.meaning.websocket);
	asked("GET / HTTP/1.1\r\n" H "Content-Length: 1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", &o);
	assert_false(o.meaning.websocket);
	asked("GET / HTTP/1.0\r\n" H "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", &o);
	assert_false(o.meaning.websocket);
}

static int answered(const char *text, const char *method, bool ws, struct outcome *o)
{
	struct http1_slice m = {method, strlen(method)};
	struct http1_scan s = {0};

	assert_int_equal(http1_response(&s, text, strlen(text), &o->head), HTTP1_DONE);
	return http1_response_meaning(&o->head, m, ws, &o->meaning);
}

static void test_response_meaning(void **state)
{
	static const char ws[] = "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nKeep-Alive: 1\r\n\r\n";
	struct outcome o;

	(void)state;
	assert_int_equal(answered(good_responses[0], "GET", false, &o), 0);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_LENGTH);
	assert_int_equal(o.meaning.length, 5);
	assert_true(o.meaning.keep_alive);
	assert_int_equal(answered(good_responses[0], "HEAD", false, &o), 0);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_NONE);
	/* The coding of a body that is not there goes. */
	assert_int_equal(answered(good_responses[1], "HEAD", false, &o), 0);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_NONE);
	assert_true(http1_is_hop(&o.meaning, 0) && !http1_is_hop(&o.meaning, 1));
	assert_int_equal(answered("HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", false, &o), 0);
	assert_true(o.meaning.framing == HTTP1_FRAMING_NONE && http1_is_hop(&o.meaning, 0));
	assert_int_equal(answered(good_responses[1], "GET", false, &o), 0);
	assert_false(http1_is_hop(&o.meaning, 0));
	assert_int_equal(answered(good_responses[0], "head", false, &o), 0);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_LENGTH);
	assert_int_equal(answered(good_responses[1], "HEAD", false, &o), 0);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_NONE);
	assert_int_equal(answered(good_responses[1], "GET", false, &o), 0);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_CHUNKED);
	assert_int_equal(answered(good_responses[2], "GET", false, &o), 0);
	assert_int_equal(o.meaning.framing, HTTP1_FRAMING_CLOSE);
	assert_false(o.meaning.keep_alive);
	assert_int_equal(answered(good_responses[4], "GET", false, &o), 0);
	assert_true(o.meaning.keep_alive);
	for (size_t i = 6; i <= 8; i++) {
		assert_int_equal(answered(good_responses[i], "GET", false, &o), 0);
		assert_int_equal(o.meaning.framing, HTTP1_FRAMING_NONE);
		assert_true(o.meaning.keep_alive);
	}
	assert_int_equal(answered(ws, "GET", true, &o), 0);
	assert_true(o.meaning.websocket);
	assert_false(http1_is_hop(&o.meaning, 0) || http1_is_hop(&o.meaning, 1));
	assert_true(http1_is_hop(&o.meaning, 2));
	assert_int_equal(answered(ws, "GET", false, &o), -EBADMSG);
	assert_int_equal(answered("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "GET", true, &o), -EBADMSG);
	assert_int_equal(answered("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", "GET", true, &o), -EBADMSG);
}

static void test_limits(void **state)
{
	static char big[HTTP1_HEAD_MAX + 64];
	struct outcome o;
	size_t n;

	(void)state;
	/* a head of exactly the limit, and one byte more */
	n = (size_t)sprintf(big, "GET / HTTP/1.1\r\n" H "X: ");
	memset(big + n, 'a', HTTP1_HEAD_MAX - n - 4);
	memcpy(big + HTTP1_HEAD_MAX - 4, "\r\n\r\n", 4);
	run(REQUEST, big, HTTP1_HEAD_MAX, 0, &o);
	assert_int_equal(o.res, HTTP1_DONE);
	memcpy(big + HTTP1_HEAD_MAX - 4, "a\r\n\r\n", 5);
	run(REQUEST, big, HTTP1_HEAD_MAX + 1, 0, &o);
	assert_int_equal(o.bad, HTTP1_BAD_TOO_LONG);
	run(REQUEST, big, HTTP1_HEAD_MAX - 1, 0, &o);
	assert_int_equal(o.res, HTTP1_MORE);
	run(TRAILERS, big, HTTP1_HEAD_MAX, 0, &o);
	assert_int_equal(o.bad, HTTP1_BAD_TOO_LONG);
	/* fields */
	for (int count = HTTP1_FIELDS_MAX - 1; count <= HTTP1_FIELDS_MAX; count++) {
		n = (size_t)sprintf(big, "GET / HTTP/1.1\r\n" H);
		for (int i = 0; i < count; i++)
			n += (size_t)sprintf(big + n, "X: %d\r\n", i);
		n += (size_t)sprintf(big + n, "\r\n");
		run(REQUEST, big, n, 0, &o);
		assert_int_equal(o.bad, count < HTTP1_FIELDS_MAX ? HTTP1_BAD_NONE : HTTP1_BAD_TOO_MANY);
	}
	/* a name */
	for (int len = HTTP1_NAME_MAX; len <= HTTP1_NAME_MAX + 1; len++) {
		n = (size_t)sprintf(big, "GET / HTTP/1.1\r\n" H "%0*d:\r\n\r\n", len, 0);
		run(REQUEST, big, n, 0, &o);
		assert_int_equal(o.bad, len == HTTP1_NAME_MAX ? HTTP1_BAD_NONE : HTTP1_BAD_NAME);
	}
	/* a host of 253 bytes and of 254 */
	for (int extra = 0; extra < 2; extra++) {
		n = (size_t)sprintf(big, "GET / HTTP/1.1\r\nHost: ");
		for (int i = 0; i < 83; i++)
			n += (size_t)sprintf(big + n, "aa.");
		n += (size_t)sprintf(big + n, "%s\r\n\r\n", extra ? "abcde" : "abcd");
		run(REQUEST, big, n, 0, &o);
		assert_int_equal(o.bad, extra ? HTTP1_BAD_HOST : HTTP1_BAD_NONE);
	}
	/* … and of much more */
	n = (size_t)sprintf(big, "GET / HTTP/1.1\r\nHost: ");
	for (int i = 0; i < 3000; i++)
		n += (size_t)sprintf(big + n, "a.");
	n += (size_t)sprintf(big + n, "a\r\n\r\n");
	run(REQUEST, big, n, 0, &o);
	assert_int_equal(o.bad, HTTP1_BAD_HOST);
	assert_string_equal(http1_bad_word(HTTP1_BAD_COUNT), "internal_error");
	assert_string_equal(http1_bad_word(HTTP1_BAD_TRAILER), "bad_trailer");
}

/* Every byte value at every place of a value: control bytes are found, all others pass. */
static void test_every_byte(void **state)
{
	char text[64];
	struct outcome o;

	(void)state;
	for (int at = 0; at < 20; at++)
		for (int c = 0; c < 256; c++) {
			int n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" H "X: aaaaaaaaaaaaaaaaaaaaa\r\n\r\n");
			bool bad = (c < 32 && c != '\t') || c == 127;

			text[n - 5 - at] = (char)c;
			run(REQUEST, text, (size_t)n, 0, &o);
			assert_int_equal(o.res, bad ? HTTP1_BAD : HTTP1_DONE);
		}
}

/* A bad head does not become good by what comes after. */
static void test_stays_bad(void **state)
{
	static const char good[] = "GET / HTTP/1.1\r\n" H "\r\n";
	static const char *const first[] = {"\n", "GET / HTTP/1.1\r\nX\r\n\r\n"};
	struct http1_head h;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
		struct http1_scan s = {0};

		assert_int_equal(http1_request(&s, first[i], strlen(first[i]), &h), HTTP1_BAD);
		assert_int_equal(http1_request(&s, good, sizeof(good) - 1, &h), HTTP1_BAD);
		assert_int_equal(h.bad, i ? HTTP1_BAD_NO_COLON : HTTP1_BAD_EMPTY_LINE);
	}
}

/* ---- URLs ---- */

static void test_urls(void **state)
{
	static const char *const bad[] = {
		"", "http://", "https://", "https:///x", "a.example", "//a.example/", "ftp://a.example/",
		"https:/a.example/", "https:\\\\a.example/", "https://a.example\\x", "https://u@a.example/",
		"https://u:p@a.example/", "https://a.example@b.example/", "https://a.example:/", "https://a.example:x/",
		"https://a.example:0/", "https://a.example:00443/", "https://a.example:65536/", "https://a.example/#f",
		"https://a.example#f", "https://a.example/ x", "https://a.example/\t", "https://a.example/\r\n",
		"https://a.example/\177", "https://a.example/\303\244", "https://\303\244.example/", " https://a.example/",
		"https://a.example /", "https://a.example./", "https://.example/", "https://a..example/",
		"https://-a.example/", "https://*.example/", "https://127.1/", "https://0x7f.0.0.1/", "https://1.2.3.256/",
		"https://[::1/", "https://::1/", "https://[::g]/", "https://[::1%25lo]/", "https://[::1]443/",
		"https://a.example%2f/", "https://a.example%00/", "http:a.example", "httpss://a.example/",
	};
	struct http1_url u = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct http1_slice s = {flush_copy(0, bad[i], strlen(bad[i])), strlen(bad[i])};

		if (http1_url(s, &u) == 0)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(u.port, 0); /* untouched */
	}
	assert_int_equal(http1_authority((struct http1_slice){"1.2.3.4\0x", 9}, u.host, &u.address, &u.port), -EINVAL);
	assert_int_equal(http1_authority((struct http1_slice){"a.example\0", 10}, u.host, &u.address, &u.port), -EINVAL);
	assert_int_equal(http1_url((struct http1_slice){"hTTps://A.Example/p?q?r", 23}, &u), 0);
	assert_string_equal(u.host, "a.example");
	assert_int_equal(u.port, 443);
	assert_false(u.port_given);
	is_slice(u.path, "/p");
	is_slice(u.query, "q?r");
	assert_int_equal(http1_url((struct http1_slice){"http://127.0.0.1:8080?", 22}, &u), 0);
	assert_true(u.address && u.port_given);
	assert_int_equal(u.port, 8080);
	is_slice(u.path, "/");
	is_slice(u.query, "");
	assert_int_equal(http1_url((struct http1_slice){"https://[2001:db8:0:0::1]", 25}, &u), 0);
	assert_string_equal(u.host, "2001:db8::1");
	is_slice(u.target, "");
}

/* ---- chunks ---- */

struct body {
	enum http1_result res;
	size_t used, len;
	char data[4096];
};

static void eat(const char *p, size_t len, size_t step, struct body *b)
{
	struct http1_chunked c = {0};
	size_t at = 0;

	memset(b, 0, sizeof(*b));
	b->res = HTTP1_MORE;
	while (at < len && (b->res == HTTP1_MORE || b->res == HTTP1_DATA)) {
		size_t n = step && step < len - at ? step : len - at, used;
		const char *in = flush_copy(0, p + at, n);
		struct http1_slice d;

		b->res = http1_chunked(&c, in, n, &used, &d);
		assert_true(used <= n);
		if (b->res == HTTP1_DATA) {
			assert_true(d.len > 0 && d.p >= in && d.p + d.len == in + used);
			assert_true(b->len + d.len <= sizeof(b->data));
			memcpy(b->data + b->len, d.p, d.len);
			b->len += d.len;
		} else {
			assert_int_equal(d.len, 0);
		}
		if (b->res == HTTP1_MORE)
			assert_int_equal(used, n);
		at += used;
	}
	b->used = at;
	if (b->res == HTTP1_DATA)
		b->res = HTTP1_MORE;
	if (b->res == HTTP1_BAD)
		assert_int_equal(c.bad, HTTP1_BAD_CHUNK);
}

static void eat_all_ways(const char *p, size_t len, struct body *whole)
{
	static struct body b;

	eat(p, len, 0, whole);
	for (size_t step = 1; step <= len; step++) {
		eat(p, len, step, &b);
		if (b.res != whole->res || b.used != whole->used || b.len != whole->len ||
		    memcmp(b.data, whole->data, b.len) != 0)
			fail_msg("%.30s: by %zu differs", p, step);
	}
}

static void test_chunks(void **state)
{
	static const struct {
		const char *in, *out;
	} good[] = {
		{"0\r\n", ""},
		{"000\r\n", ""},
		{"5\r\nhello\r\n0\r\n", "hello"},
		{"5\r\nhello\r\n6\r\n world\r\n0;last\r\n", "hello world"},
		{"A\r\n0123456789\r\n0\r\n", "0123456789"},
		{"0000000000000001;a=\"b;c\";d\r\nx\r\n0\r\n", "x"},
		{"2\r\n\r\n\r\n0\r\n", "\r\n"},
	};
	static const char *const bad[] = {
		"\r\n", "\n", "0\n", "0\r\r\n", "0 \r\n", " 0\r\n", "0\t\r\n", "0 ;a\r\n", "+5\r\nhello\r\n", "-1\r\n",
		"0x5\r\nhello\r\n", "g\r\n", ";a\r\n", "5\nhello\r\n", "5\r\nhello\n", "5\r\nhellox\r\n", "5\r\nhello\r\r\n",
		"5\r\nhello\rx", "5\r\nhello0\r\n", "5\r\nhello\r\n\r\n", "8000000000000000\r\n", "FFFFFFFFFFFFFFFF\r\n",
		"00000000000000005\r\nhello\r\n", "10000000000000000\r\n", "5;a\nhello\r\n", "5;a\rb\r\nhello\r\n", "5;\1\r\n",
		"5;\303\244\r\nhello\r\n", "5;\177\r\n", "5,\r\n", "5\r\n", "1\r\nx\r\nz\r\n", "5 5\r\n", "0\rx",
	};
	static struct body b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		eat_all_ways(good[i].in, strlen(good[i].in), &b);
		assert_int_equal(b.res, HTTP1_DONE);
		assert_int_equal(b.used, strlen(good[i].in));
		assert_int_equal(b.len, strlen(good[i].out));
		assert_memory_equal(b.data, good[i].out, b.len);
		for (size_t n = 0; n < strlen(good[i].in); n++) {
			eat(good[i].in, n, 0, &b);
			assert_int_equal(b.res, HTTP1_MORE);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		eat_all_ways(bad[i], strlen(bad[i]), &b);
		if (strcmp(bad[i], "5\r\n") != 0 && b.res != HTTP1_BAD)
			fail_msg("taken: %s", bad[i]);
	}
	eat_all_ways("5;\0\r\n", 5, &b);
	assert_int_equal(b.res, HTTP1_BAD);
}

static void test_chunk_limits(void **state)
{
	static char big[32768];
	static struct body b;
	size_t n;

	(void)state;
	for (int len = HTTP1_CHUNK_EXT_MAX; len <= HTTP1_CHUNK_EXT_MAX + 1; len++) {
		n = (size_t)sprintf(big, "1;%0*d\r\nx\r\n0\r\n", len, 0);
		eat(big, n, 7, &b);
		assert_int_equal(b.res, len == HTTP1_CHUNK_EXT_MAX ? HTTP1_DONE : HTTP1_BAD);
	}
	for (int count = 16; count <= 17; count++) {
		n = 0;
		for (int i = 0; i < count; i++)
			n += (size_t)sprintf(big + n, "1;%0256d\r\nx\r\n", 0);
		n += (size_t)sprintf(big + n, "0\r\n");
		eat(big, n, 0, &b);
		assert_int_equal(b.res, count == 16 ? HTTP1_DONE : HTTP1_BAD);
	}
}

static void test_chunk_flips(void **state)
{
	static const char text[] = "5;a=b\r\nhello\r\n1\r\nx\r\n0\r\n";
	static struct body a, b;
	char flipped[sizeof(text)];

	(void)state;
	for (size_t bit = 0; bit < (sizeof(text) - 1) * 8; bit++) {
		memcpy(flipped, text, sizeof(text));
		flipped[bit / 8] = (char)(flipped[bit / 8] ^ 1 << bit % 8);
		eat(flipped, sizeof(text) - 1, 0, &a);
		eat(flipped, sizeof(text) - 1, 1, &b);
		assert_int_equal(a.res, b.res);
		assert_int_equal(a.len, b.len);
		assert_memory_equal(a.data, b.data, a.len);
	}
}

static void test_trailers(void **state)
{
	struct outcome o;
	struct wr w;
	char out[64];

	(void)state;
	all_splits(TRAILERS, "\r\n", 2, &o);
	assert_int_equal(o.res, HTTP1_DONE);
	assert_int_equal(o.head.field_count, 0);
	all_splits(TRAILERS, "X-Sum: 1\r\nProxy-Status: y\r\n\r\nGET", 32, &o);
	assert_int_equal(o.res, HTTP1_DONE);
	assert_int_equal(o.head.field_count, 2);
	all_splits(TRAILERS, "X-Checksum: 1\r\n\r\n", 17, &o);
	assert_int_equal(o.res, HTTP1_DONE);
	run(TRAILERS, "X-Sum:   1 \r\n\r\n", 15, 0, &o);
	w = wr_of(out, sizeof(out));
	http1_write_last_chunk(&w, &o.head);
	assert_int_equal(w.len, 15);
	assert_memory_equal(out, "0\r\nX-Sum: 1\r\n\r\n", 15);
}

/* ---- writing ---- */

static int replace_x(void *ctx, uint32_t field, struct wr *w)
{
	const char *with = ctx;

	if (field != 1 && field != HTTP1_TARGET)
		return 0;
	wr_str(w, with);
	return 1;
}

static void written(struct http1_out *o, bool request, int rc, const char *want)
{
	static char out[4096];
	struct wr w = wr_of(out, sizeof(out));
	int got = request ? http1_write_request(&w, o) : http1_write_response(&w, o);

	assert_int_equal(got, rc);
	assert_int_equal(w.full, rc < 0);
	if (rc == 0 && (w.len != strlen(want) || memcmp(out, want, w.len) != 0))
		fail_msg("wrote: %.*s\nnot: %s", (int)w.len, out, want);
	/* the same into every smaller room: refused, nothing past the end */
	for (size_t cap = 0; rc == 0 && cap < strlen(want); cap++) {
		w = wr_of(flush_copy(0, out, cap), cap);
		got = request ? http1_write_request(&w, o) : http1_write_response(&w, o);
		assert_int_equal(got, -ENOBUFS);
		assert_true(w.full);
	}
}

static void test_write_request(void **state)
{
	static const char text[] = "POST http://a.example?q HTTP/1.1\r\nhost:a.example\r\nX-One:  1\r\nConnection: x-two\r\n"
				   "X-Two: 2\r\nContent-LENGTH: 007\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\n"
				   "Trailer: x\r\nX-one: 3\r\n\r\n";
	struct http1_edit edits[3];
	struct outcome o;
	struct http1_out how = {.head = &o.head, .meaning = &o.meaning, .framing = HTTP1_FRAMING_LENGTH, .length = 7};

	(void)state;
	asked(text, &o);
	written(&how, true, 0, "POST /?q HTTP/1.1\r\nhost: a.example\r\nX-One: 1\r\nContent-LENGTH: 7\r\nTrailer: x\r\nX-one: 3\r\n\r\n");
	edits[0] = (struct http1_edit){.op = HTTP1_DROP, .field = 1};
	edits[1] = (struct http1_edit){.op = HTTP1_VALUE, .field = 0, .value = {"b.example", 9}};
	edits[2] = (struct http1_edit){.op = HTTP1_ADD, .name = {"Y", 1}, .value = {"z", 1}};
	how.edits = edits;
	how.edit_count = 3;
	how.framing = HTTP1_FRAMING_CHUNKED;
	how.target = (struct http1_slice){"/t", 2};
	how.method = (struct http1_slice){"PUT", 3};
	how.close = true;
	written(&how, true, 0, "PUT /t HTTP/1.1\r\nhost: b.example\r\nTrailer: x\r\nX-one: 3\r\nY: z\r\n"
			       "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
	edits[2].value = (struct http1_slice){"z\r\nEvil: 1", 10};
	written(&how, true, -EINVAL, NULL);
	edits[2].value = (struct http1_slice){"z", 1};
	edits[2].name = (struct http1_slice){"Y:", 2};
	written(&how, true, -EINVAL, NULL);
	edits[2].name = (struct http1_slice){"", 0};
	written(&how, true, -EINVAL, NULL);
	edits[2].op = 0;
	written(&how, true, -EINVAL, NULL);
	how.edit_count = 2;
	how.target = (struct http1_slice){"/t x", 4};
	written(&how, true, -EINVAL, NULL);
	how.target = (struct http1_slice){"/t", 2};
	how.method = (struct http1_slice){"P T", 3};
	written(&how, true, -EINVAL, NULL);
	how.method.p = NULL;
	how.framing = HTTP1_FRAMING_CLOSE;
	written(&how, true, -EINVAL, NULL);
}

static void test_write_replace(void **state)
{
	struct outcome o;
	struct http1_out how = {.head = &o.head, .meaning = &o.meaning, .replace = replace_x};

	(void)state;
	asked("GET /a HTTP/1.1\r\n" H "X: 1\r\nY: 1\r\n\r\n", &o);
	how.ctx = (void *)(uintptr_t) "/new";
	written(&how, true, 0, "GET /new HTTP/1.1\r\n" H "X: /new\r\nY: 1\r\n\r\n");
	how.target = (struct http1_slice){"/b", 2};
	how.ctx = (void *)(uintptr_t) "v w\t";
	written(&how, true, 0, "GET /b HTTP/1.1\r\n" H "X: v w\t\r\nY: 1\r\n\r\n");
	how.ctx = (void *)(uintptr_t) "v\r\nEvil: 1";
	written(&how, true, -EINVAL, NULL);
	how.ctx = (void *)(uintptr_t) "v\n";
	written(&how, true, -EINVAL, NULL);
	how.ctx = (void *)(uintptr_t) "v\1";
	written(&how, true, -EINVAL, NULL);
	how.target.p = NULL;
	how.ctx = (void *)(uintptr_t) "/a b";
	written(&how, true, -EINVAL, NULL);
	how.ctx = (void *)(uintptr_t) "";
	written(&how, true, -EINVAL, NULL);
}

static void test_write_special(void **state)
{
	struct outcome o;
	struct http1_out how = {.head = &o.head, .meaning = &o.meaning};
	struct http1_edit add = {.op = HTTP1_ADD, .name = {"host", 4}, .value = {"b", 1}};

	(void)state;
	asked(good_requests[14], &o);
	written(&how, true, 0, "GET /chat HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x==\r\n\r\n");
	asked("GET http://[2001:DB8::1]:81/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &o);
	written(&how, true, 0, "GET / HTTP/1.1\r\nHost: [2001:db8::1]:81\r\n\r\n");
	asked("GET http://192.0.2.1:81/ HTTP/1.0\r\n\r\n", &o);
	written(&how, true, 0, "GET / HTTP/1.1\r\nHost: 192.0.2.1:81\r\n\r\n");
	asked("GET http://a.example/ HTTP/1.0\r\n\r\n", &o);
	written(&how, true, 0, "GET / HTTP/1.1\r\n" H "\r\n");
	asked("GET https://a.example/ HTTP/1.0\r\n\r\n", &o);
	written(&how, true, 0, "GET / HTTP/1.1\r\n" H "\r\n");
	asked("GET https://a.example:80/ HTTP/1.0\r\n\r\n", &o);
	written(&how, true, 0, "GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n");
	asked("GET / HTTP/1.0\r\n\r\n", &o);
	written(&how, true, -EINVAL, NULL);
	how.edits = &add;
	how.edit_count = 1;
	written(&how, true, 0, "GET / HTTP/1.1\r\nhost: b\r\n\r\n");
	add.name = (struct http1_slice){"X", 1};
	written(&how, true, -EINVAL, NULL);
	how.edit_count = 0;
	asked(good_requests[3], &o);
	how.framing = HTTP1_FRAMING_CHUNKED;
	written(&how, true, 0, "PUT /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTrailer: X\r\nExpect: 100-Continue\r\n\r\n");
	how.framing = HTTP1_FRAMING_NONE;
	asked(good_requests[11], &o);
	written(&how, true, -EINVAL, NULL);
	assert_int_equal(answered(good_responses[0], "HEAD", false, &o), 0);
	written(&how, false, 0, good_responses[0]);
	assert_int_equal(answered(good_responses[7], "GET", false, &o), 0);
	written(&how, false, 0, good_responses[7]);
	assert_int_equal(answered(good_responses[6], "GET", false, &o), 0);
	written(&how, false, 0, "HTTP/1.1 204 No Content\r\n\r\n");
	assert_int_equal(answered(good_responses[3], "GET", false, &o), 0);
	add.value = (struct http1_slice){"b\r\nSet-Cookie: x", 16};
	how.edit_count = 1;
	written(&how, false, -EINVAL, NULL);
	how.edit_count = 0;
	how.framing = HTTP1_FRAMING_CHUNKED;
	written(&how, false, 0, "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n");
	how.framing = HTTP1_FRAMING_CLOSE;
	written(&how, false, 0, "HTTP/1.1 200 \r\nConnection: close\r\n\r\n");
	assert_int_equal(answered(good_responses[1], "GET", false, &o), 0);
	how.framing = HTTP1_FRAMING_LENGTH;
	how.length = UINT64_MAX;
	written(&how, false, 0, "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 18446744073709551615\r\n\r\n");
	assert_int_equal(answered(good_responses[9], "GET", false, &o), 0);
	how.framing = HTTP1_FRAMING_CLOSE;
	written(&how, false, 0, "HTTP/1.1 200 OK\r\nProxy-Status: x\r\nConnection: close\r\n\r\n");
}

static void test_write_chunk(void **state)
{
	char out[HTTP1_CHUNK_HEAD_MAX];
	struct wr w = wr_of(out, sizeof(out));

	(void)state;
	http1_write_chunk(&w, 0x1f0);
	assert_int_equal(w.len, 5);
	assert_memory_equal(out, "1f0\r\n", 5);
	w = wr_of(out, sizeof(out));
	http1_write_chunk(&w, UINT64_MAX);
	assert_int_equal(w.len, sizeof(out));
	assert_false(w.full);
}

static void test_questions(void **state)
{
	(void)state;
	assert_true(http1_is((struct http1_slice){"ChunKed", 7}, "chunked"));
	assert_false(http1_is((struct http1_slice){"chunkeds", 8}, "chunked"));
	assert_false(http1_is((struct http1_slice){"\xe3hunked", 7}, "chunked"));
	assert_false(http1_eq((struct http1_slice){"Get", 3}, "GET"));
	assert_false(http1_token((struct http1_slice){"", 0}));
	assert_false(http1_token((struct http1_slice){"a b", 3}));
	assert_true(http1_token((struct http1_slice){"!#$%&'*+-.^_`|~09azAZ", 21}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),	       cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_flips),	       cmocka_unit_test(test_request_meaning),
		cmocka_unit_test(test_response_meaning), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_urls),	       cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_chunk_limits),   cmocka_unit_test(test_chunk_flips),
		cmocka_unit_test(test_trailers),       cmocka_unit_test(test_write_request),
		cmocka_unit_test(test_write_replace),  cmocka_unit_test(test_write_special),
		cmocka_unit_test(test_write_chunk),    cmocka_unit_test(test_questions),
		cmocka_unit_test(test_stays_bad),
		cmocka_unit_test(test_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
