/* show.h: results on stdout, and text from elsewhere made safe for a terminal. */
#ifndef SHOW_H
#define SHOW_H

#include "own.h"

#include <jansson.h>
#include <stdio.h>

/* Writes len bytes with everything that could move a cursor, reorder or hide text made visible: control
 * bytes, DEL, C1, bidirectional and zero-width marks, and bytes that are not UTF-8, as \xNN. */
void show_clean(FILE *f, const char *text, size_t len);
void show_text(FILE *f, const char *text);
/* A line on stdout: the label as it is, then text from elsewhere. */
void show_line(const char *label, const char *text);

/* Heads and an array of arrays of strings, in columns two blanks apart. No rows: nothing is printed. */
void show_table(FILE *f, const char *const *heads, size_t columns, const json_t *rows);

/* The answer without its "ok", as indented ASCII JSON. Returns the exit status, as show_end. */
int show_json(json_t *answer);

/* Flushes stdout: CLI_OK, or CLI_FAILED with a sentence when it could not all be written. */
int show_end(void) must_check;

#endif
