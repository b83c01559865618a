/* hop.c: see hop.h. The password is copied once, to be encoded, and that copy is wiped. */
#include "hop.h"

#include "config.h"
#include "origin.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static int hop_credentials(const char *user, const uint8_t *password, size_t len, struct wr *w)
{
	uint8_t plain[CONFIG_PROXY_USER_MAX + 1 + HOP_PASSWORD_MAX],
		coded[4 * (sizeof(plain) / 3 + 1) + 1];
	size_t n = strlen(user), i;

	for (i = 0; i < len && password[i] >= 0x20 && password[i] != 0x7f; i++)
		;
	if (i < len || len > HOP_PASSWORD_MAX || n >= CONFIG_PROXY_USER_MAX)
		return -EINVAL;
	memcpy(plain, user, n);
	plain[n] = ':';
	if (len)
		memcpy(plain + n + 1, password, len);
	n = (size_t)EVP_EncodeBlock(coded, plain, (int)(n + 1 + len));
	wr_str(w, "Proxy-Authorization: Basic ");
	wr_bytes(w, coded, n);
	wr_str(w, "\r\n");
	explicit_bzero(plain, sizeof(plain));
	explicit_bzero(coded, sizeof(coded));
	return 0;
}

int hop_request(const uint8_t to[16], uint16_t port, const char *user, const uint8_t *password,
		size_t len, struct wr *w)
{
	char addr[ORIGIN_TEXT_MAX], authority[ORIGIN_TEXT_MAX + 16];
	int rc = 0;

	(void)origin_text(to, addr);
	(void)snprintf(authority, sizeof(authority), origin_is_v4(to) ? "%s:%u" : "[%s]:%u", addr,
		       port);
	wr_str(w, "CONNECT ");
	wr_str(w, authority);
	wr_str(w, " HTTP/1.1\r\nHost: ");
	wr_str(w, authority);
	wr_str(w, "\r\n");
	if (user[0])
		rc = hop_credentials(user, password, len, w);
	wr_str(w, "\r\n");
	return rc < 0 ? rc : w->full ? -ENOBUFS : 0;
}

enum hop_says hop_says(const char *head)
{
	const char *status;

	if (strncmp(head, "HTTP/1.0 ", 9) != 0 && strncmp(head, "HTTP/1.1 ", 9) != 0)
		return HOP_NONSENSE;
	status = head + 9;
	if (strspn(status, "0123456789") != 3 || (status[3] != ' ' && status[3] != '\r'))
		return HOP_NONSENSE;
	switch (status[0]) {
	case '2':
		return HOP_THROUGH;
	case '5':
		return HOP_NEXT;
	case '3':
	case '4':
		return strncmp(status, "407", 3) == 0 ? HOP_CREDENTIALS : HOP_REFUSED;
	default:
		return HOP_NONSENSE;
	}
}
