/* ws.c: see ws.h. */
#include "ws.h"

#include <string.h>

/* Bytes of the head, as far as the first two tell. */
static size_t head_length(const uint8_t h[2])
{
	size_t n = h[1] & 0x7f;

	return 2 + (n == 126 ? 2 : n == 127 ? 8 : 0) + (h[1] & 0x80 ? 4 : 0);
}

static bool take_head(struct ws *w)
{
	const uint8_t *h = w->head;
	struct ws_frame f = {.opcode = h[0] & 15, .fin = h[0] >> 7, .masked = h[1] >> 7};
	size_t n = h[1] & 0x7f, at = 2, wide = n == 126 ? 2 : n == 127 ? 8 : 0;

	f.length = wide ? 0 : n;
	for (size_t i = 0; i < wide; i++)
		f.length = f.length << 8 | h[at++];
	if (f.masked)
		memcpy(f.mask, h + at, 4);
	w->have = 0;
	w->left = f.length;
	w->frame = f;
	if ((wide == 2 && f.length < 126) ||
	    (wide == 8 && (f.length <= UINT16_MAX || f.length >> 63)))
		return false;
	if ((h[0] & 0x70) || f.masked != w->from_client || w->closed)
		return false;
	switch (f.opcode) {
	case WS_TEXT:
	case WS_BINARY:
		if (w->message)
			return false;
		w->message = !f.fin;
		return true;
	case WS_CONT:
		if (!w->message)
			return false;
		w->message = !f.fin;
		return true;
	case WS_CLOSE:
		w->closed = true;
		return f.fin && f.length <= WS_CONTROL_MAX && f.length != 1;
	case WS_PING:
	case WS_PONG:
		return f.fin && f.length <= WS_CONTROL_MAX;
	default:
		return false;
	}
}

enum ws_result ws_read(struct ws *w, const uint8_t *in, size_t len, size_t *used, size_t *data)
{
	size_t at = 0;

	*used = *data = 0;
	if (w->left > 0) {
		*data = *used = len < w->left ? len : (size_t)w->left;
		w->left -= *data;
		return *data > 0 ? WS_DATA : WS_MORE;
	}
	while (at < len) {
		w->head[w->have++] = in[at++];
		if (w->have < 2 || w->have < head_length(w->head))
			continue;
		*used = at;
		return take_head(w) ? WS_HEAD : WS_BAD;
	}
	*used = at;
	return WS_MORE;
}

void ws_write_head(struct wr *w, const struct ws_frame *f)
{
	uint8_t mask = f->masked ? 0x80 : 0;

	wr_u8(w, (uint8_t)((f->fin ? 0x80 : 0) | f->opcode));
	if (f->length < 126) {
		wr_u8(w, (uint8_t)(mask | f->length));
	} else if (f->length <= UINT16_MAX) {
		wr_u8(w, mask | 126);
		wr_u16(w, (uint16_t)f->length);
	} else {
		wr_u8(w, mask | 127);
		wr_u64(w, f->length);
	}
	if (f->masked)
		wr_bytes(w, f->mask, 4);
}
