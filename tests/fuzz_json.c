/* fuzz_json.c - any bytes as a line for produce and as a stored value: no crash, and printing what
 * was read and reading it again changes nothing. */
#include <assert.h>

#include "cli/base64.c"
#include "cli/json.c"
#include "cli/text.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_put_event(struct text *t, const struct json_event *ev)
{
    for (size_t i = 0; i < 2 * ev->n_fields; i++) {
        text_put_char(t, i == 0 ? '{' : i % 2 == 0 ? ',' : ':');
        if (i % 2 == 0)
            json_put_name(t, ev->slices[ev->first + i]);
        else
            json_put_value(t, ev->slices[ev->first + i]);
    }
    text_put_char(t, '}');
}

/* Prints the event of a line; what that line gives is printed the same. */
static void fuzz_line(const char *line, size_t n)
{
    struct json_event ev;
    struct text once = { 0 }, twice = { 0 };

    json_event_init(&ev, 3);
    if (json_event_parse(&ev, line, n)) {
        fuzz_put_event(&once, &ev);
        assert(json_event_parse(&ev, once.p, once.n));
        fuzz_put_event(&twice, &ev);
        assert(once.n == twice.n && memcmp(once.p, twice.p, once.n) == 0);
    }
    json_event_fini(&ev);
    text_fini(&once);
    text_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text line = { 0 };

    fuzz_line((const char *)data, size);
    text_put_str(&line, "{\"v\":");
    json_put_value(&line, beck_bytes(data, size));
    text_put_char(&line, '}');
    assert(json_is_text(line.p, line.n));
    fuzz_line(line.p, line.n);
    text_fini(&line);
    return 0;
}
