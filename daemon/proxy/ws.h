/* ws.h: frames of a WebSocket (RFC 6455, 5), read strictly and written from what was read.
 *
 * Refused: reserved bits and opcodes (no extension is ever agreed on), a length that is not in its shortest form, control
 * frames that are long or in pieces, a message within a message, a continuation of none, anything behind a Close; frames of
 * a client without a mask, of a server with one.
 *
 * Pure: no I/O, no allocation. Zero-initialise struct ws but for from_client.
 */
#ifndef WS_H
#define WS_H

#include "wr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WS_CONTROL_MAX 125 /* bytes of a control frame's payload */
#define WS_HEAD_MAX    14

enum ws_opcode { WS_CONT = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct ws_frame {
	uint8_t opcode;
	bool fin, masked;
	uint8_t mask[4];
	uint64_t length;
};

struct ws {
	bool from_client;
	uint8_t head[WS_HEAD_MAX];
	uint8_t have;          /* bytes of a head that is not complete */
	uint64_t left;         /* payload of the frame still to come */
	bool message;          /* one has begun and not ended */
	bool closed;           /* a Close went by */
	struct ws_frame frame; /* the last one whose head was complete */
};

enum ws_result {
	WS_BAD = 0,
	WS_MORE, /* all was used */
	WS_HEAD, /* a frame begins: ws.frame; ws.left is its length */
	WS_DATA, /* the last *data of the *used bytes are payload of it; ws.left: how much is to come */
};

/* Eats in[0..len); *used and *data are always set. However the bytes are cut, the outcome is the same. */
enum ws_result ws_read(struct ws *w, const uint8_t *in, size_t len, size_t *used, size_t *data);

static inline bool ws_is_control(const struct ws_frame *f)
{
	return f->opcode >= WS_CLOSE;
}

/* Is it between two frames? */
static inline bool ws_between(const struct ws *w)
{
	return w->have == 0 && w->left == 0;
}

void ws_write_head(struct wr *w, const struct ws_frame *f);

#endif
