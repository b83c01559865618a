/* answer.c: see answer.h. */
#include "answer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

int answer_status(enum reason why)
{
	switch (why) {
	case REASON_BAD_REQUEST:
		return 400;
	case REASON_UPSTREAM_NAME:
	case REASON_UPSTREAM_CONNECT:
	case REASON_UPSTREAM_PROXY:
	case REASON_UPSTREAM_TLS:
	case REASON_UPSTREAM_BAD:
	case REASON_UPSTREAM_TIMEOUT:
	case REASON_UPSTREAM_CLOSED:
	case REASON_VAULT:
	case REASON_VAULT_LOCKED:
	case REASON_KEYRING_LOCKED:
	case REASON_KEYRING_AWAY:
	case REASON_COMMAND:
	case REASON_TOKEN_REFUSED:
	case REASON_TOKEN:
	case REASON_INTERNAL:
		return 502;
	default:
		return 403;
	}
}

static const char *answer_phrase(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	default:
		return "Bad Gateway";
	}
}

/* A JSON string of text that is ASCII but for our own words. */
static void answer_json(struct wr *w, const char *s)
{
	wr_str(w, "\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			wr_str(w, "\\");
		if ((unsigned char)*s >= 0x20)
			wr_u8(w, (uint8_t)*s);
	}
	wr_str(w, "\"");
}

/* The head, and the body unless it is for a HEAD. */
static void answer_put(int status, const struct wr *body, const char *method, bool keep, struct wr *w)
{
	char head[256];

	(void)snprintf(head, sizeof(head),
		       "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
		       "Cache-Control: no-store\r\n%s\r\n",
		       status, answer_phrase(status), body->len, keep ? "" : "Connection: close\r\n");
	wr_str(w, head);
	if (strcmp(method, "HEAD") != 0)
		wr_bytes(w, body->p, body->len);
	w->full |= body->full;
}

int answer_write_ours(const struct answer *a, const char *method, bool keep, struct wr *w)
{
	uint8_t body[512];
	struct wr b = wr_of(body, sizeof(body));
	int status = a->kind == ANSWER_TEXT ? a->status : 200;

	if (a->kind == ANSWER_CONNECTED) {
		wr_str(w, "HTTP/1.1 200 Connection established\r\n\r\n");
		return status;
	}
	if (a->kind == ANSWER_HEALTH) {
		wr_str(&b, "{\"status\":\"ok\"}\n");
	} else {
		wr_str(&b, "{\"error\":");
		answer_json(&b, a->text);
		wr_str(&b, "}\n");
	}
	answer_put(status, &b, method, keep, w);
	return status;
}

void answer_write(enum reason why, const char *host, const char *method, bool keep, struct wr *w)
{
	char sentence[768];
	uint8_t body[ANSWER_MAX - 256];
	struct wr b = wr_of(body, sizeof(body));
	int status = answer_status(why);

	wr_str(&b, "{\"error\":");
	answer_json(&b, reason_word(why));
	if (status == 403) {
		wr_str(&b, ",\"domain\":");
		answer_json(&b, host);
	}
	wr_str(&b, ",\"message\":");
	answer_json(&b, reason_sentence(why, host[0] ? host : NULL, sentence, sizeof(sentence)));
	wr_str(&b, "}\n");
	answer_put(status, &b, method, keep, w);
}

/* gRPC's numbers for it. */
static int answer_grpc_status(enum reason why)
{
	switch (why) {
	case REASON_BAD_REQUEST:
		return 3; /* INVALID_ARGUMENT */
	case REASON_LIMIT:
		return 8; /* RESOURCE_EXHAUSTED */
	case REASON_UPSTREAM_NAME:
	case REASON_UPSTREAM_CONNECT:
	case REASON_UPSTREAM_PROXY:
	case REASON_UPSTREAM_TLS:
	case REASON_UPSTREAM_BAD:
	case REASON_UPSTREAM_CLOSED:
	case REASON_UPSTREAM_TIMEOUT:
		return 14; /* UNAVAILABLE */
	default:
		return answer_status(why) == 403 ? 7 : 13; /* PERMISSION_DENIED, INTERNAL */
	}
}

int answer_write_grpc(enum reason why, const char *host, struct wr *w)
{
	static const char hex[] = "0123456789ABCDEF";
	char sentence[768], number[8];
	const char *s = reason_sentence(why, host[0] ? host : NULL, sentence, sizeof(sentence));

	(void)snprintf(number, sizeof(number), "%d", answer_grpc_status(why));
	wr_str(w, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\nGrpc-Status: ");
	wr_str(w, number);
	wr_str(w, "\r\nGrpc-Message: ");
	wr_str(w, reason_word(why));
	wr_str(w, ": ");
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c >= 0x20 && c < 0x7f && c != '%') {
			wr_u8(w, c);
		} else {
			wr_str(w, "%");
			wr_u8(w, (uint8_t)hex[c >> 4]);
			wr_u8(w, (uint8_t)hex[c & 15]);
		}
	}
	wr_str(w, "\r\n\r\n");
	return 200;
}
