/* Any request that is accepted can be scanned and filled, and what is written is one request with as many
 * fields: no value adds one. The first byte gives the value's length; the value is the input's beginning. */
#include "inject.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char host[][RPC_HOST_MAX] = {"a.example"};
static struct rules_attach attach[] = {{"KEY", RULES_SLOT_HEADER, "Authorization", "Bearer ", ""},
				       {"KEY", RULES_SLOT_QUERY, "key", "", ""}};
static struct rules_rule rule = {.host = "a.example", .port = 443, .attach_count = 2, .attach = attach};
static struct rules_secret secret = {.name = "KEY", .slots = RULES_SLOTS_ALL, .host_count = 1, .hosts = host,
				     .placeholder = "sk-abcdefghijklmnopqrstu"};
static const struct rules rules = {.workspace = "w", .version = 1, .rule_count = 1, .rules = &rule, .secret_count = 1,
				   .secrets = &secret};

static void fill(const struct http1_head *h, const struct http1_meaning *m, const struct inject_scan *found,
		 const struct inject_value *values, const struct ref_marks *marks)
{
	static char out[4 * HTTP1_HEAD_MAX];
	static struct http1_head back;
	struct inject_fill f = {.head = h, .meaning = m, .scan = found, .values = values, .marks = marks};
	static struct http1_edit edits[INJECT_EDITS_MAX];
	int edit_count = inject_edits(h, found, edits, INJECT_EDITS_MAX);
	struct http1_out how = {.head = h, .meaning = m, .framing = m->framing, .length = m->length,
				.replace = inject_replace, .ctx = &f, .edits = edits,
				.edit_count = (size_t)edit_count};
	struct wr w = wr_of(out, sizeof(out));
	struct http1_scan s = {0};
	uint32_t kept = 0;

	assert(edit_count >= 0);
	if (http1_write_request(&w, &how) < 0 || w.len > HTTP1_HEAD_MAX)
		return;
	for (uint32_t i = 0; i < h->field_count; i++)
		kept += !http1_is_hop(m, i);
	kept += http1_find(h, HTTP1_HOST, 0) == h->field_count;
	for (int i = 0; i < edit_count; i++) {
		kept -= edits[i].op == HTTP1_DROP && !http1_is_hop(m, edits[i].field);
		kept += edits[i].op == HTTP1_ADD;
	}
	if (kept > HTTP1_FIELDS_MAX)
		return;
	assert(http1_request(&s, out, w.len, &back) == HTTP1_DONE && back.raw.len == w.len);
	assert(back.field_count == kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http1_head h;
	struct inject_value values[INJECT_MAX];
	struct http1_meaning m;
	struct http1_scan s = {0};
	struct inject_scan found;
	struct ref_marks *marks = NULL;
	size_t len;

	if (size < 2)
		return 0;
	len = data[0] % 32 < size - 1 ? data[0] % 32 : size - 1;
	for (size_t i = 0; i < INJECT_MAX; i++)
		values[i] = (struct inject_value){data + 1, len};
	data += 1 + len;
	size -= 1 + len;
	if (http1_request(&s, (const char *)data, size, &h) != HTTP1_DONE || http1_request_meaning(&h, &m) < 0)
		return 0;
	assert(ref_marks_new(&rules, &marks) == 0);
	if (inject_scan(&h, &m, marks, &found) == 0) {
		fill(&h, &m, &found, values, marks);
		if (inject_attach(&rules, "a.example", 443, "GET", NULL, &h, &m, &found) == 0)
			fill(&h, &m, &found, values, marks);
	}
	ref_marks_free(marks);
	return 0;
}
