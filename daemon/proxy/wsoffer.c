/* wsoffer.c: see wsoffer.h. The protocols are kept as they were written, each ended by NUL, an empty one ending all: white
 * space and empty members of the lists (RFC 9110, 5.6.1) are left out. */
#include "wsoffer.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#define WSOFFER_GUID    "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define WSOFFER_KEY_MAX 64 /* 24 is what it has */

struct wsoffer {
	char accept[WSOFFER_ACCEPT_LEN + 1]; /* "": nothing is right */
	char protocols[];
};

/* The only field of this name; NULL: none, or more than one. */
static const struct http1_field *wsoffer_field(const struct http1_head *h, const char *name,
					       uint32_t *ret_count)
{
	const struct http1_field *found = NULL;
	uint32_t i;

	*ret_count = 0;
	for (i = 0; i < h->field_count; i++)
		if (http1_is(h->fields[i].name, name)) {
			found = &h->fields[i];
			++*ret_count;
		}
	return *ret_count == 1 ? found : NULL;
}

static void wsoffer_accept(const struct http1_head *request, char accept[WSOFFER_ACCEPT_LEN + 1])
{
	uint32_t count;
	const struct http1_field *key = wsoffer_field(request, "sec-websocket-key", &count);
	uint8_t text[WSOFFER_KEY_MAX + sizeof(WSOFFER_GUID)], digest[SHA_DIGEST_LENGTH];

	if (!key || key->value.len == 0 || key->value.len > WSOFFER_KEY_MAX)
		return;
	memcpy(text, key->value.p, key->value.len);
	memcpy(text + key->value.len, WSOFFER_GUID, sizeof(WSOFFER_GUID) - 1);
	SHA1(text, key->value.len + sizeof(WSOFFER_GUID) - 1, digest);
	(void)EVP_EncodeBlock((unsigned char *)accept, digest, sizeof(digest));
}

/* to: as long as the list and two more. Where the next one goes. */
static char *wsoffer_list(struct http1_slice list, char *to)
{
	size_t i, n = 0;

	for (i = 0; i <= list.len; i++) {
		char c = i < list.len ? list.p[i] : ',';

		if (c == ',' && n > 0) {
			*to++ = '\0';
			n = 0;
		} else if (c != ',' && c != ' ' && c != '\t') {
			*to++ = c;
			n++;
		}
	}
	return to;
}

int wsoffer_new(const struct http1_head *request, struct wsoffer **ret)
{
	size_t room = 1;
	struct wsoffer *o;
	uint32_t i;
	char *to;

	for (i = 0; i < request->field_count; i++)
		if (http1_is(request->fields[i].name, "sec-websocket-protocol"))
			room += request->fields[i].value.len + 1;
	o = calloc(1, sizeof(*o) + room);
	if (!o)
		return -ENOMEM;
	wsoffer_accept(request, o->accept);
	to = o->protocols;
	for (i = 0; i < request->field_count; i++)
		if (http1_is(request->fields[i].name, "sec-websocket-protocol"))
			to = wsoffer_list(request->fields[i].value, to);
	*ret = o;
	return 0;
}

struct wsoffer *wsoffer_free(struct wsoffer *o)
{
	free(o);
	return NULL;
}

static bool wsoffer_has(const struct wsoffer *o, struct http1_slice protocol)
{
	const char *p;

	for (p = o->protocols; *p; p += strlen(p) + 1)
		if (http1_eq(protocol, p))
			return true;
	return false;
}

const char *wsoffer_bad(const struct wsoffer *o, const struct http1_head *response)
{
	const struct http1_field *f;
	uint32_t count;

	f = wsoffer_field(response, "sec-websocket-accept", &count);
	if (!f || !o->accept[0] || !http1_eq(f->value, o->accept))
		return "Sec-WebSocket-Accept of the websocket does not answer its key";
	(void)wsoffer_field(response, "sec-websocket-extensions", &count);
	if (count > 0)
		return "an extension of the websocket that was not asked for";
	f = wsoffer_field(response, "sec-websocket-protocol", &count);
	if (count > 0 && (!f || !wsoffer_has(o, f->value)))
		return "a protocol of the websocket that was not asked for";
	return NULL;
}
