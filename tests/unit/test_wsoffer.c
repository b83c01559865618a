/* A WebSocket's handshake: which 101 answers which request. */
#include "wsoffer.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEY    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"	   /* RFC 6455, 1.3 */
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static struct wsoffer *offer(const char *fields)
{
	static struct http1_head h;
	struct http1_scan scan = {0};
	struct wsoffer *o = NULL;
	char text[4096];
	int n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);

	assert_int_equal(http1_request(&scan, flush_copy(0, text, (size_t)n), (size_t)n, &h), HTTP1_DONE);
	assert_int_equal(wsoffer_new(&h, &o), 0);
	return o;
}

static const char *answer(const struct wsoffer *o, const char *fields)
{
	static struct http1_head h;
	struct http1_scan scan = {0};
	char text[4096];
	int n = snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\n%s\r\n", fields);

	assert_int_equal(http1_response(&scan, flush_copy(1, text, (size_t)n), (size_t)n, &h), HTTP1_DONE);
	return wsoffer_bad(o, &h);
}

static void pair(const char *asks, const char *says, const char *bad)
{
	struct wsoffer *o = offer(asks);
	const char *is = answer(o, says);

	if (bad ? !is || !strstr(is, bad) : is != NULL)
		fail_msg("%s%s: %s", asks, says, is ? is : "taken");
	wsoffer_free(o);
}

static void accepts(void **state)
{
	(void)state;
	pair(KEY, ACCEPT, NULL);
	pair("sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==  \r\n", "SEC-WEBSOCKET-ACCEPT:   s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \r\n", NULL);
	pair(KEY, "", "does not answer");
	pair(KEY, "Sec-WebSocket-Accept: \r\n", "does not answer");
	pair(KEY, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n", "does not answer");
	pair(KEY, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo==\r\n", "does not answer");
	pair(KEY, "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "does not answer");
	pair(KEY, "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n", "does not answer");
	pair(KEY, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, x\r\n", "does not answer");
	pair(KEY, ACCEPT ACCEPT, "does not answer");
	/* A request that has no key, or more than one, is answered by nothing. */
	pair("", ACCEPT, "does not answer");
	pair("", "Sec-WebSocket-Accept: \r\n", "does not answer");
	pair("", "Sec-WebSocket-Accept: Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=\r\n", "does not answer"); /* of no bytes */
	pair("Sec-WebSocket-Key:\r\n", "Sec-WebSocket-Accept: Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=\r\n", "does not answer");
	pair(KEY KEY, ACCEPT, "does not answer");
	pair("Sec-WebSocket-Key: 0123456789012345678901234567890123456789012345678901234567890123x\r\n", ACCEPT, "does not answer");
}

static void choices(void **state)
{
	(void)state;
	pair(KEY "Sec-WebSocket-Protocol: chat, superchat\r\n", ACCEPT, NULL); /* it need not choose */
	pair(KEY "Sec-WebSocket-Protocol: chat, superchat\r\n", ACCEPT "Sec-WebSocket-Protocol: superchat\r\n", NULL);
	pair(KEY "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: ,, v2 ,\t,v3\r\n", ACCEPT "Sec-WebSocket-Protocol: v3\r\n", NULL);
	pair(KEY "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: ,, v2 ,\t,v3\r\n", ACCEPT "Sec-WebSocket-Protocol: chat\r\n", NULL);
	pair(KEY, ACCEPT "Sec-WebSocket-Protocol: chat\r\n", "a protocol");
	pair(KEY, ACCEPT "Sec-WebSocket-Protocol: \r\n", "a protocol");
	pair(KEY "Sec-WebSocket-Protocol: chat, superchat\r\n", ACCEPT "Sec-WebSocket-Protocol: Chat\r\n", "a protocol");
	pair(KEY "Sec-WebSocket-Protocol: chat, superchat\r\n", ACCEPT "Sec-WebSocket-Protocol: super\r\n", "a protocol");
	pair(KEY "Sec-WebSocket-Protocol: chat, superchat\r\n", ACCEPT "Sec-WebSocket-Protocol: chat, superchat\r\n", "a protocol");
	pair(KEY "Sec-WebSocket-Protocol: chat, superchat\r\n",
	     ACCEPT "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n", "a protocol");
	pair(KEY, ACCEPT "Sec-WebSocket-Extensions: permessage-deflate\r\n", "an extension");
	pair(KEY "Sec-WebSocket-Extensions: permessage-deflate\r\n", ACCEPT "sec-websocket-extensions:\r\n", "an extension"); /* it is not sent up */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(accepts), cmocka_unit_test(choices)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
