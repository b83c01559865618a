/* recode.h: takes content codings off a body as it goes by: gzip, deflate, br, zstd; and those of a body's messages.
 *
 * Bounds: one call writes at most what the caller has room for; more than RECODE_RATIO times as many bytes out as in,
 * after the first RECODE_FREE, is taken for a bomb; windows are at most 16 MiB (br), 8 MiB (zstd), 32 KiB.
 */
#ifndef RECODE_H
#define RECODE_H

#include "own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECODE_LAYERS  3 /* and the messages' */
#define RECODE_FREE    (1u << 20)
#define RECODE_RATIO   4096u
#define RECODE_BETWEEN 16384u /* bytes between two layers */

enum recode_coding {
	RECODE_GZIP = 1,
	RECODE_DEFLATE,
	RECODE_BR,
	RECODE_ZSTD,
	RECODE_MESSAGES = 16, /* and a coding: that of single messages (messages.h) */
};

/* The codings of a body, in the order in which they were put on. */
struct recode_list {
	uint32_t count;
	enum recode_coding of[RECODE_LAYERS + 1];
};
/* Adds those of one Content-Encoding value; "identity" is none. -ENOTSUP: one that we do not know, or too many. */
int recode_list_add(struct recode_list *l, const char *p, size_t len) must_check;
/* The one coding of the body's messages, before any other is added. -ENOTSUP. */
int recode_list_messages(struct recode_list *l, const char *p, size_t len) must_check;

struct recode;
/* list->count >= 1. */
int recode_new(const struct recode_list *list, struct recode **ret) must_check;
struct recode *recode_free(struct recode *r);
OWN_CLEANUP(recode, struct recode, recode_free)

/* Goes on. *used bytes of `in` are done with, *made bytes were written; when both are 0 nothing more comes out
 * without more coming in. -EBADMSG: it is not what it says it is, or more follows its end; -EFBIG: a bomb; -ENOMEM. */
int recode_some(struct recode *r, const uint8_t *in, size_t len, size_t *used, uint8_t *out,
		size_t cap, size_t *made) must_check;
/* May the body end here: all is complete, or nothing has come at all. */
bool recode_complete(const struct recode *r);

#endif
