/* test_changes.c - beck:changes: what has happened to keys, read as a stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/changes.h"
#include "broker/cache/change.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

/* The next bulk string of a reply. */
static struct slice bulk(const char **at)
{
    const char *p = strchr(*at, '$');
    char *end;
    unsigned long n;

    assert_non_null(p);
    n = strtoul(p + 1, &end, 10);
    *at = end + 2 + n;
    return slice_of(end + 2, n);
}

/* What is read, without its IDs and revisions, in one line: "set a string; del a none". */
static const char *reads(struct rig *r, char *out, size_t size, const char *command)
{
    const char *at = rig_say(r, "%s", command);
    size_t used = 0;

    out[0] = '\0';
    for (; (at = strstr(at, "$2\r\nop\r\n")) != NULL;) {
        struct slice words[6];

        for (size_t i = 0; i < 6; i++)
            words[i] = bulk(&at);
        used +=
            (size_t)snprintf(out + used, size - used, "%s%.*s %.*s %.*s", used > 0 ? "; " : "",
                             (int)words[1].n, (const char *)words[1].p, (int)words[3].n,
                             (const char *)words[3].p, (int)words[5].n, (const char *)words[5].p);
    }
    return out;
}

#define READS(r, want, command)                                            \
    do {                                                                   \
        char line_[8192];                                                  \
        assert_string_equal(reads(r, line_, sizeof line_, command), want); \
    } while (0)

static void what_happens_to_keys_is_a_stream(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":0\r\n", "XLEN beck:changes");
    says(r, OKAY, "SET a 1");
    says(r, ":2\r\n", "HSET h f v g w");
    says(r, ":1\r\n", "DEL a");
    says(r, OKAY, "RENAME h k");
    says(r, ":1\r\n", "EXPIRE k 100");
    says(r, OKAY, "FLUSHDB");
    READS(r, "set a string; set h hash; del a none; rename h hash; set k hash; flush  none",
          "XRANGE beck:changes - +");
    says(r, ":6\r\n", "XLEN beck:changes");
    says(r, "+stream\r\n", "TYPE beck:changes");
    assert_null(changes_check(&r->e.state));
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_happens_to_keys_is_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
