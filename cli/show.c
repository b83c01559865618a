/* show.c: see show.h. */
#include "show.h"

#include "cli.h"

#include <stdint.h>
#include <string.h>

#define COLUMNS_MAX 12

/* Bytes of the UTF-8 sequence at p, its code point in *cp; 0 when it is not one. */
static size_t utf8_at(const uint8_t *p, size_t len, uint32_t *cp)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 :
		   p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : 0;

	if (n == 0 || n > len)
		return 0;
	*cp = n == 1 ? p[0] : p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*cp = *cp << 6 | (p[i] & 0x3f);
	}
	if (*cp < least[n] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000))
		return 0;
	return n;
}

static int plain(uint32_t cp)
{
	return cp >= 0x20 && (cp < 0x7f || cp >= 0xa0) && cp != 0xad && cp != 0x61c && cp != 0xfeff &&
	       !(cp >= 0x200b && cp <= 0x200f) && !(cp >= 0x2028 && cp <= 0x202e) &&
	       !(cp >= 0x2060 && cp <= 0x206f) && cp < 0xe0000;
}

/* Prints one character or escape; returns how many bytes of the text it took, *width what it shows. */
static size_t put_one(FILE *f, const uint8_t *p, size_t len, size_t *width)
{
	uint32_t cp = 0;
	size_t n = utf8_at(p, len, &cp);

	if (n && plain(cp)) {
		if (f)
			(void)fwrite(p, 1, n, f);
		*width += 1;
		return n;
	}
	n = n ? n : 1;
	for (size_t i = 0; i < n; i++) {
		if (f)
			(void)fprintf(f, "\\x%02x", p[i]);
		*width += 4;
	}
	return n;
}

void show_clean(FILE *f, const char *text, size_t len)
{
	size_t width = 0;

	for (size_t at = 0; at < len;)
		at += put_one(f, (const uint8_t *)text + at, len - at, &width);
}

void show_text(FILE *f, const char *text)
{
	show_clean(f, text, strlen(text));
}

void show_line(const char *label, const char *text)
{
	(void)fputs(label, stdout);
	show_text(stdout, text);
	(void)fputc('\n', stdout);
}

static size_t width_of(const char *text)
{
	size_t len = strlen(text), width = 0;

	for (size_t at = 0; at < len;)
		at += put_one(NULL, (const uint8_t *)text + at, len - at, &width);
	return width;
}

static const char *cell(const json_t *row, size_t column)
{
	const char *s = json_string_value(json_array_get(row, column));

	return s && *s ? s : "-";
}

static void put_cell(FILE *f, const char *text, size_t width, int last)
{
	show_text(f, text);
	if (last)
		(void)fputc('\n', f);
	else
		(void)fprintf(f, "%*s", (int)(width - width_of(text) + 2), "");
}

void show_table(FILE *f, const char *const *heads, size_t columns, const json_t *rows)
{
	size_t width[COLUMNS_MAX] = {0}, rows_n = json_array_size(rows);

	if (rows_n == 0 || columns > COLUMNS_MAX)
		return;
	for (size_t c = 0; c < columns; c++) {
		width[c] = width_of(heads[c]);
		for (size_t r = 0; r < rows_n; r++) {
			size_t w = width_of(cell(json_array_get(rows, r), c));

			width[c] = w > width[c] ? w : width[c];
		}
	}
	for (size_t c = 0; c < columns; c++)
		put_cell(f, heads[c], width[c], c + 1 == columns);
	for (size_t r = 0; r < rows_n; r++)
		for (size_t c = 0; c < columns; c++)
			put_cell(f, cell(json_array_get(rows, r), c), width[c], c + 1 == columns);
}

int show_json(json_t *answer)
{
	(void)json_object_del(answer, "ok");
	if (json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII))
		return cli_fail(&(struct err){"the answer could not be printed"});
	(void)fputc('\n', stdout);
	return show_end();
}

int show_end(void)
{
	struct err e;

	if (!fflush(stdout) && !ferror(stdout))
		return CLI_OK;
	(void)err_set(&e, -EIO, "not all of the output could be written: %s", strerror(errno));
	return cli_fail(&e);
}
