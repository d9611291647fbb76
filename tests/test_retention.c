/* test_retention.c - claims about limits that the server keeps by itself: whole engine, simulated disk, and a clock that
 * the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/retention.h"
#include "log/entry.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

enum { HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS };

static void add(struct rig *r, const char *key, int n)
{
    while (n-- > 0)
        assert_int_equal(rig_say(r, "XADD %s * f v", key)[0], '$');
}

static struct retention_stats stats(struct rig *r)
{
    struct retention_stats s;

    retention_get_stats(&r->e, &s);
    assert_null(retention_check(&r->e));
    return s;
}

/* ---- age ---- */

static void entries_leave_when_they_are_too_old_and_the_stream_stays(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add(r, "s", 3);
    says(r, OKAY, "XCFGSET s RETENTION-AGE %d", DAY_MS);
    rig_pass(r, DAY_MS - 1000);
    add(r, "s", 2);
    assert_int_equal(rig_len(r, "s"), 5);
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "s"), 5); /* they are a day old, not older */
    rig_pass(r, DAY_MS / 100);
    assert_int_equal(rig_len(r, "s"), 2);
    rig_pass(r, 7 * (uint64_t)DAY_MS); /* a week */
    assert_int_equal(rig_len(r, "s"), 0);
    says(r, ":1\r\n", "EXISTS s");
    assert_int_equal(stats(r).n_entries, 5);
    rig_free(r);
}

static void a_short_age_is_kept_to_the_second(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, "$3\r\n1-1\r\n", "XADD s 1-1 f v"); /* older than anything when it comes */
    says(r, OKAY, "XCFGSET s RETENTION-AGE 500");
    assert_int_equal(rig_len(r, "s"), 0);
    add(r, "s", 1);
    rig_pass(r, 500);
    assert_int_equal(rig_len(r, "s"), 1);
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "s"), 0);
    rig_free(r);
}

static void an_entry_of_exactly_the_age_stays(void **state)
{
    struct rig *r = rig_begin();
    uint64_t first_ms = r->e.now_ms;
    unsigned long ms, seq;

    (void)state;
    for (uint64_t i = 0; i < 1500; i++)
        rig_say(r, "XADD s %lu-1 f v", first_ms + i);
    says(r, OKAY, "XCFGSET s RETENTION-AGE 5000");
    rig_pass(r, 6000);
    assert_int_equal(
        sscanf(rig_say(r, "XRANGE s - + COUNT 1"), "*1\r\n*2\r\n$15\r\n%lu-%lu", &ms, &seq), 2);
    assert_int_equal(ms, r->e.now_ms - 5000);
    rig_free(r);
}

static void ids_of_the_future_stay_until_their_time(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "CONFIG SET retention-age-ms 1000");
    says(r, "$22\r\n18446744073709551615-1\r\n", "XADD s 18446744073709551615-1 f v");
    rig_pass(r, 100 * (uint64_t)DAY_MS);
    assert_int_equal(rig_len(r, "s"), 1);
    rig_free(r);
}

/* ---- len, bytes ---- */

static void a_stream_is_cut_to_its_length_within_a_second(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add(r, "s", 10);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 10");
    add(r, "s", 5);
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "s"), 10);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 3");
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "s"), 3);
    rig_free(r);
}

static void what_goes_far_beyond_a_limit_is_cut_in_the_same_round(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add(r, "s", 1);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 10");
    add(r, "s", 500);
    assert_true(rig_len(r, "s") <= 10 + 100 + 1);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 0");
    add(r, "s", 500);
    rig_pass(r, 1000);
    assert_true(rig_len(r, "s") > 500);
    rig_free(r);
}

static void a_stream_is_cut_to_its_bytes(void **state)
{
    struct rig *r = rig_begin();
    const struct slice strings[2] = { slice_str("f"), slice_str("v") };
    size_t size = entry_size((struct id){ 1700000000000, 1 }, strings, 2);

    (void)state;
    rig_pass(r, 1);
    add(r, "s", 10);
    says(r, OKAY, "XCFGSET s RETENTION-BYTES %zu", 4 * size + 1);
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "s"), 4);
    says(r, OKAY, "XCFGSET s RETENTION-BYTES %zu", 4 * size - 1);
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "s"), 3);
    rig_free(r);
}

/* ---- what holds ---- */

static void defaults_hold_for_streams_that_are_already_there(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add(r, "a", 5);
    add(r, "b", 5);
    says(r, OKAY, "XCFGSET b RETENTION-LEN 0"); /* off, whatever the default is */
    says(r, OKAY, "CONFIG SET retention-len 2");
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "a"), 2);
    assert_int_equal(rig_len(r, "b"), 5);
    says(r, OKAY, "XCFGSET b RETENTION-LEN DEFAULT");
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "b"), 2);
    rig_free(r);
}

static void the_first_pattern_that_matches_holds_also_after_a_rename(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add(r, "a:1", 9);
    add(r, "b:1", 9);
    says(r, OKAY, "CONFIG SET retention-len 7");
    r->lazy = false;
    assert_int_equal(config_set(&r->config, slice_str("stream-settings"),
                                slice_str("a:* RETENTION-LEN 3 a:1 RETENTION-LEN 1"), NULL),
                     OK);
    engine_config_changed(&r->e, "stream-settings");
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "a:1"), 3);
    assert_int_equal(rig_len(r, "b:1"), 7);
    says(r, OKAY, "RENAME b:1 a:2");
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "a:2"), 3);
    rig_free(r);
}

static void limits_hold_after_a_restart_and_what_was_cut_stays_cut(void **state)
{
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        struct rig *r = rig_begin();

        add(r, "s", 20);
        add(r, "t", 20);
        says(r, OKAY, "XCFGSET s RETENTION-LEN 12 RETENTION-AGE %d", HOUR_MS);
        rig_pass(r, 1000);
        rig_restart(r, killed != 0);
        assert_int_equal(rig_len(r, "s"), 12);
        rig_pass(r, 2 * HOUR_MS);
        assert_int_equal(rig_len(r, "s"), 0);
        add(r, "s", 3);
        rig_restart(r, killed != 0);
        assert_int_equal(rig_len(r, "s"), 3);
        r->config.retention_len = 7; /* as another configuration file would say */
        rig_restart(r, killed != 0);
        rig_pass(r, 1000);
        assert_int_equal(rig_len(r, "t"), 7);
        rig_free(r);
    }
}

static void other_settings_and_idempotence_are_left_alone(void **state)
{
    struct rig *r = rig_begin();
    char first[64];

    (void)state;
    snprintf(first, sizeof first, "%s", rig_say(r, "XADD s IDMP p i * f v"));
    says(r, OKAY, "XCFGSET s RETENTION-AGE 60000 CODEC zstd:3 DURABILITY os");
    says(r, first, "XADD s IDMP p i * f v"); /* still known */
    says(r, OKAY, "XCFGSET s IDMP-MAXSIZE 7");
    has(r, "retention-age\r\n:60000\r\n", "BECK STREAM s");
    has(r, "codec\r\n$6\r\nzstd:3\r\n", "BECK STREAM s");
    assert_string_not_equal(rig_say(r, "XADD s IDMP p i * f v"), first);
    rig_free(r);
}

static void bad_settings_are_refused_with_what_would_be_right(void **state)
{
    static const struct {
        const char *args, *want;
    } cases[] = {
        { "RETENTION-AGE 1h", "-ERR RETENTION-AGE must be a number of milliseconds (0: no limit), "
                              "not '1h'; DEFAULT takes the configuration's\r\n" },
        { "RETENTION-LEN -1", "-ERR RETENTION-LEN must be a number of entries (0: no limit), not "
                              "'-1'; DEFAULT takes the configuration's\r\n" },
        { "RETENTION-LEN 1 CODEC gzip",
          "-ERR CODEC must be auto, none, lz4, zstd, or zstd with a level from zstd:1 to zstd:19, "
          "not 'gzip'; DEFAULT takes the configuration's\r\n" },
        { "DURABILITY never", "-ERR DURABILITY must be always, interval or os, not 'never'; "
                              "DEFAULT takes the configuration's\r\n" },
        { "RETENTION-LEN", "-ERR syntax error, RETENTION-LEN needs a value\r\n" },
        { "RETENTION 1", "-ERR syntax error\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    add(r, "s", 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        says(r, cases[i].want, "XCFGSET s %s", cases[i].args);
    says(r, "-ERR no such key\r\n", "XCFGSET none RETENTION-LEN 1");
    assert_null(r->e.state.dbs[0].names.n == 0 ? "" : NULL);
    assert_int_equal(stats(r).n_scheduled, 0); /* nothing of it was taken */
    rig_free(r);
}

/* ---- what it costs ---- */

static void streams_without_a_limit_cost_nothing(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    for (int i = 0; i < 2000; i++)
        rig_say(r, "XADD s%d * f v", i);
    assert_int_equal(stats(r).n_scheduled, 0);
    rig_restart(r, true);
    assert_int_equal(stats(r).n_scheduled, 0);
    assert_false(stats(r).walking);
    rig_free(r);
}

static void a_round_looks_at_a_thousand_streams_at_most(void **state)
{
    struct rig *r = rig_begin();
    uint64_t cuts = 0, most = 0;

    (void)state;
    says(r, OKAY, "CONFIG SET retention-age-ms 1000");
    r->lazy = true;
    for (int i = 0; i < 2500; i++)
        rig_say(r, "XADD s%d * f v", i);
    simio_advance_ms(r->disk, 5000);
    for (int i = 0; i < 3; i++) {
        rig_round(r);
        if (most < stats(r).n_cuts - cuts)
            most = stats(r).n_cuts - cuts;
        cuts = stats(r).n_cuts;
    }
    assert_int_equal(most, 1000);
    assert_int_equal(cuts, 2500);
    rig_free(r);
}

static void streams_that_are_gone_leave_the_heap(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "CONFIG SET retention-age-ms %d", DAY_MS);
    for (int i = 0; i < 3000; i++) {
        rig_say(r, "XADD s * f v");
        rig_say(r, "DEL s");
    }
    assert_true(stats(r).n_scheduled < 10);
    rig_say(r, "XADD s * f v");
    rig_say(r, "FLUSHALL");
    rig_pass(r, 2 * DAY_MS);
    assert_int_equal(stats(r).n_scheduled, 0);
    rig_free(r);
}

static void a_stream_that_begins_anew_is_looked_at_again(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "CONFIG SET retention-age-ms 5000");
    add(r, "s", 1);
    says(r, ":1\r\n", "XTRIM s MAXLEN 0"); /* its time stands, though there is nothing left */
    says(r, OKAY, "XSETID s 5-5");         /* a new oid */
    add(r, "s", 1);
    rig_pass(r, 7000);
    assert_int_equal(rig_len(r, "s"), 0);
    rig_free(r);
}

/* ---- what is sealed ---- */

static void add_large(struct rig *r, const char *key, int n, int bytes)
{
    while (n-- > 0) {
        assert_int_equal(rig_say(r, "XADD %s * f %0*d", key, bytes, n)[0], '$');
        rig_pass(r, 10);
    }
}

static void whole_blocks_go_where_entries_are_sealed(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add_large(r, "s", 3000, 2000); /* some 16 in a block */
    rig_seal(r);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 2490");
    rig_pass(r, 1000);
    assert_in_range(rig_len(r, "s"), 2491,
                    2490 + 24); /* within a hundredth, but not more than asked for */
    says(r, OKAY, "XCFGSET s RETENTION-LEN 10");
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "s"), 10); /* a hundredth of this is less than any block */
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    rig_free(r);
}

static void keep_segment(void *ctx, const char *path)
{
    if (strstr(path, ".seg") != NULL)
        snprintf(ctx, 256, "%s", path);
}

static void a_damaged_block_holds_up_nobody_else_and_goes_when_it_is_old(void **state)
{
    struct rig *r = rig_begin();
    char path[256] = "";

    (void)state;
    add_large(r, "hurt", 2000, 100);
    rig_say(r, "BECK MERGE");
    rig_stop(r);
    simio_each_file(r->disk, keep_segment, path);
    simio_poke(r->disk, path, 4096 + 100,
               (uint8_t)~simio_bytes(r->disk, path, &(size_t){ 0 })[4196]);
    rig_start(r);
    add_large(r, "other", 10, 100);
    says(r, OKAY, "CONFIG SET retention-age-ms 20000"); /* its first ID is in that block */
    rig_settle(r);
    assert_true(stats(r).n_failed > 0);
    assert_int_not_equal(stats(r).last_error.code, OK);
    rig_pass(r, HOUR_MS);
    rig_pass(r, HOUR_MS);
    assert_int_equal(rig_len(r, "other"), 0);
    assert_int_equal(rig_len(r, "hurt"), 0);
    rig_free(r);
}

/* ---- a full disk ---- */

static void a_full_disk_does_not_keep_entries(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "CONFIG SET retention-age-ms 1000");
    add(r, "s", 10);
    simio_set_capacity(r->disk, simio_used_bytes(r->disk), true);
    rig_pass(r, 5000);
    assert_int_equal(rig_len(r, "s"), 0);
    rig_free(r);
}

/* ---- everything together ---- */

struct model_entry {
    struct id id;
    uint64_t bytes;
};

struct model {
    struct model_entry *entries; /* all that were ever added */
    size_t n, cap, first;        /* those before `first` have been seen to be gone */
    uint64_t age_ms, len, bytes;
};

/* How many of the model's last entries a reply of XRANGE has; they must be those and no others. */
static size_t model_match(const struct model *m, const char *reply)
{
    char text[ID_TEXT_MAX + 8];
    size_t n = strtoull(reply + 1, NULL, 10);

    assert_int_equal(reply[0], '*');
    assert_true(n <= m->n);
    for (size_t i = m->n - n; i < m->n; i++) {
        size_t len = id_format(m->entries[i].id, text + 2);

        text[0] = text[2 + len] = '\r';
        text[1] = text[3 + len] = '\n';
        text[4 + len] = '\0';
        reply = strstr(reply, text);
        assert_non_null(reply);
    }
    return n;
}

/* R2, and the limits within what is tolerated. */
static void model_check(struct model *m, struct rig *r)
{
    size_t n = model_match(m, rig_say(r, "XRANGE s - +")), first = m->n - n;
    uint64_t now_ms = r->e.now_ms, bytes = 0, kept = 0;
    uint64_t late_ms = m->age_ms / 100 > 1000 ? m->age_ms / 100 : 1000;

    assert_true(first >= m->first);
    for (size_t i = m->n; i-- > m->first;) {
        uint64_t ms = m->entries[i].id.ms, place = m->n - i;
        bool old = m->age_ms != 0 && ms + m->age_ms < now_ms;

        bytes += m->entries[i].bytes;
        if (i >= first) {
            kept = bytes;
            assert_true(m->age_ms == 0 || ms + m->age_ms + late_ms >= now_ms);
        } else if (!old && (m->len == 0 || place <= m->len) &&
                   (m->bytes == 0 || bytes <= m->bytes)) {
            fail_msg("an entry inside all limits is gone");
        }
    }
    assert_true(m->len == 0 || n <= m->len + m->len / 100);
    assert_true(m->bytes == 0 || kept <= m->bytes + m->bytes / 100);
    m->first = first;
}

static void model_add(struct model *m, struct rig *r, struct random *random)
{
    char value[200];
    size_t len = random_below(random, sizeof value - 1) + 1;
    struct slice strings[2] = { slice_str("f"), slice_of(value, len) };
    struct model_entry *x;
    const char *reply;

    memset(value, 'v', len);
    reply = rig_say(r, "XADD s * f %.*s", (int)len, value);
    assert_int_equal(reply[0], '$');
    if (m->n == m->cap) {
        m->cap = m->cap * 2 + 64;
        m->entries = realloc(m->entries, m->cap * sizeof *m->entries);
        assert_non_null(m->entries);
    }
    x = &m->entries[m->n++];
    assert_int_equal(sscanf(strchr(reply, '\n') + 1, "%lu-%lu", &x->id.ms, &x->id.seq), 2);
    x->bytes = entry_size(x->id, strings, 2);
}

static void model_configure(struct model *m, struct rig *r, struct random *random)
{
    m->age_ms = random_below(random, 3) > 0 ? 1000 + random_below(random, 200000) : 0;
    m->len = random_below(random, 3) == 0 ? 1 + random_below(random, 500) : 0;
    m->bytes = random_below(random, 3) == 0 ? 1 + random_below(random, 50000) : 0;
    says(r, OKAY, "XCFGSET s RETENTION-AGE %lu RETENTION-LEN %lu RETENTION-BYTES %lu", m->age_ms,
         m->len, m->bytes);
}

static void limits_are_kept_and_nothing_inside_them_goes_whatever_comes(void **state)
{
    struct random random = random_seeded("limits_are_kept");
    size_t n_steps = random_rounds(300);
    struct rig *r = rig_begin();
    struct model m = { 0 };

    (void)state;
    model_add(&m, r, &random);
    for (size_t step = 0; step < n_steps; step++) {
        switch (random_below(&random, 20)) {
        case 0: model_configure(&m, r, &random); break;
        case 1: rig_restart(r, random_below(&random, 2) == 0); break;
        case 2: rig_seal(r); break;
        case 3: rig_pass(r, random_below(&random, 100000)); break;
        default:
            for (size_t n = random_below(&random, 40); n > 0; n--)
                model_add(&m, r, &random);
            rig_pass(r, random_below(&random, 5000));
        }
        rig_pass(r, 1000);
        model_check(&m, r);
    }
    free(m.entries);
    rig_free(r);
}

/* ---- groups ---- */

/* Entries that a group "g" has got; its consumer has acknowledged the first `n_acked`. */
static void add_delivered(struct rig *r, int n, int n_acked)
{
    for (int i = 1; i <= n; i++)
        assert_int_equal(rig_say(r, "XADD s %llu-%d f v", (unsigned long long)r->e.now_ms, i)[0],
                         '$');
    says(r, OKAY, "XGROUP CREATE s g 0");
    assert_int_equal(rig_say(r, "XREADGROUP GROUP g c STREAMS s >")[0], '*');
    for (int i = 1; i <= n_acked; i++)
        says(r, ":1\r\n", "XACK s g %llu-%d", (unsigned long long)r->e.now_ms, i);
}

static void without_another_limit_what_is_acknowledged_goes(void **state)
{
    struct rig *r = rig_begin();
    uint64_t at_ms = r->e.now_ms;

    (void)state;
    add_delivered(r, 10, 4);
    says(r, OKAY, "XCFGSET s RETENTION-ACKED yes");
    rig_settle(r);
    assert_int_equal(rig_len(r, "s"), 6);
    says(r, ":1\r\n", "XACK s g %llu-6", (unsigned long long)at_ms); /* 5 is before it */
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 6);
    says(r, ":1\r\n", "XACK s g %llu-5", (unsigned long long)at_ms);
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 4);
    rig_restart(r, true);
    assert_int_equal(rig_len(r, "s"), 4);
    for (int i = 7; i <= 10; i++)
        says(r, ":1\r\n", "XACK s g %llu-%d", (unsigned long long)at_ms, i);
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 0);
    rig_free(r);
}

static void every_group_has_to_have_acknowledged(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add_delivered(r, 10, 10);
    says(r, OKAY, "XGROUP CREATE s h 0");
    says(r, OKAY, "XCFGSET s RETENTION-ACKED yes");
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 10);
    assert_int_equal(rig_say(r, "XREADGROUP GROUP h c COUNT 4 NOACK STREAMS s >")[0], '*');
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 6);
    says(r, ":1\r\n", "XGROUP DESTROY s h");
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 0);
    rig_free(r);
}

static void without_groups_nothing_goes_by_acknowledgements_alone(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add(r, "s", 10);
    says(r, OKAY, "XCFGSET s RETENTION-ACKED yes RETENTION-ACKED-MAX-AGE 1");
    rig_pass(r, DAY_MS);
    assert_int_equal(rig_len(r, "s"), 10);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 3"); /* other limits are kept as ever */
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 3);
    rig_free(r);
}

static void a_limit_waits_for_the_groups(void **state)
{
    struct rig *r = rig_begin();
    uint64_t at_ms = r->e.now_ms;

    (void)state;
    add_delivered(r, 20, 5);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 8 RETENTION-ACKED yes");
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 15);
    for (int i = 0; i < 500; i++) { /* held: appends do not make it be looked at again */
        assert_int_equal(rig_say(r, "XADD s * f v")[0], '$');
        assert_true(retention_next_ms(&r->e) == UINT64_MAX);
    }
    assert_int_equal(rig_len(r, "s"), 515);
    for (int i = 6; i <= 20; i++)
        says(r, ":1\r\n", "XACK s g %llu-%d", (unsigned long long)at_ms, i);
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 500); /* what was not delivered yet */
    assert_int_equal(rig_say(r, "XREADGROUP GROUP g c NOACK STREAMS s >")[0], '*');
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 8);
    rig_free(r);
}

static void what_is_inside_a_limit_stays_though_it_is_acknowledged(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add_delivered(r, 10, 10);
    says(r, OKAY, "XCFGSET s RETENTION-AGE %d RETENTION-ACKED yes", HOUR_MS);
    rig_pass(r, HOUR_MS / 2);
    assert_int_equal(rig_len(r, "s"), 10);
    rig_pass(r, HOUR_MS);
    assert_int_equal(rig_len(r, "s"), 0);
    rig_free(r);
}

static void groups_are_waited_for_only_so_long(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    add_delivered(r, 10, 0);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 2 RETENTION-ACKED yes RETENTION-ACKED-MAX-AGE %d",
         HOUR_MS);
    rig_pass(r, HOUR_MS - 2000);
    assert_int_equal(rig_len(r, "s"), 10);
    rig_pass(r, HOUR_MS / 10);
    assert_int_equal(rig_len(r, "s"), 2);
    says(r, OKAY, "XCFGSET s RETENTION-LEN 0");
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 0); /* nor are those that no other limit asks for */
    rig_free(r);
}

static void patterns_hold_acknowledgements_too(void **state)
{
    struct rig *r = rig_begin();
    uint64_t at_ms = r->e.now_ms;
    const char *reply;

    (void)state;
    rig_stop(r);
    assert_int_equal(settings_rules_add(&r->config.stream_settings,
                                        "s RETENTION-ACKED YES RETENTION-ACKED-MAX-AGE 5000 "
                                        "* RETENTION-ACKED no",
                                        NULL),
                     OK);
    assert_string_equal(r->config.stream_settings.text,
                        "s RETENTION-ACKED yes RETENTION-ACKED-MAX-AGE 5000 * RETENTION-ACKED no");
    rig_start(r);
    add_delivered(r, 10, 0);
    says(r, ":1\r\n", "XACK s g %llu-1", (unsigned long long)at_ms);
    rig_pass(r, 2000);
    assert_int_equal(rig_len(r, "s"), 9);
    reply = rig_say(r, "BECK STREAM s");
    assert_non_null(strstr(reply, "retention-acked\r\n$3\r\nyes\r\n$20\r\nretention-acked-from\r\n"
                                  "$7\r\npattern\r\n"));
    assert_non_null(strstr(reply, "retention-acked-max-age\r\n:5000\r\n"));
    rig_pass(r, 7000);
    assert_int_equal(rig_len(r, "s"), 0);
    says(r,
         "-ERR RETENTION-ACKED must be yes or no, not 'maybe'; DEFAULT takes the "
         "configuration's\r\n",
         "XCFGSET s RETENTION-ACKED maybe");
    rig_free(r);
}

/* Reads up to 100 entries and acknowledges them; returns how many. */
static size_t consume(struct rig *r)
{
    char *reply = strdup(rig_say(r, "XREADGROUP GROUP g c COUNT 100 STREAMS s >")), *at = reply;
    char ids[4096];
    size_t used = 0, n = 0;

    while ((at = strstr(at, "*2\r\n$")) != NULL) {
        char id[64];

        at += 5;
        if (sscanf(at, "%*u %63[0-9-]", id) == 1 && strchr(id, '-') != NULL) {
            used += (size_t)snprintf(ids + used, sizeof ids - used, " %s", id);
            n++;
        }
    }
    free(reply);
    if (n > 0)
        assert_int_equal(rig_say(r, "XACK s g%s", ids)[0], ':');
    return n;
}

static void consuming_frees_a_full_disk(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "XGROUP CREATE s g 0 MKSTREAM");
    says(r, OKAY, "XCFGSET s RETENTION-ACKED yes");
    simio_set_capacity(r->disk, 6 << 20, true);
    while (rig_say(r, "XADD s * f %0500d", 0)[0] == '$') {
    }
    has(r, "-DISKFULL", "XADD s * f v");
    says(r, OKAY, "XGROUP CREATE s late $");
    says(r, OKAY, "XGROUP CFGSET s late ACKWAIT 1000");
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s late c");
    says(r, ":1\r\n", "XGROUP DESTROY s late");
    while (consume(r) > 0)
        rig_pass(r, 1000);
    rig_pass(r, 10000);
    assert_int_equal(rig_len(r, "s"), 0);
    assert_int_equal(rig_say(r, "XADD s * f v")[0], '$');
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_leave_when_they_are_too_old_and_the_stream_stays),
        cmocka_unit_test(a_short_age_is_kept_to_the_second),
        cmocka_unit_test(an_entry_of_exactly_the_age_stays),
        cmocka_unit_test(ids_of_the_future_stay_until_their_time),
        cmocka_unit_test(a_stream_is_cut_to_its_length_within_a_second),
        cmocka_unit_test(what_goes_far_beyond_a_limit_is_cut_in_the_same_round),
        cmocka_unit_test(a_stream_is_cut_to_its_bytes),
        cmocka_unit_test(defaults_hold_for_streams_that_are_already_there),
        cmocka_unit_test(the_first_pattern_that_matches_holds_also_after_a_rename),
        cmocka_unit_test(limits_hold_after_a_restart_and_what_was_cut_stays_cut),
        cmocka_unit_test(other_settings_and_idempotence_are_left_alone),
        cmocka_unit_test(bad_settings_are_refused_with_what_would_be_right),
        cmocka_unit_test(streams_without_a_limit_cost_nothing),
        cmocka_unit_test(a_round_looks_at_a_thousand_streams_at_most),
        cmocka_unit_test(streams_that_are_gone_leave_the_heap),
        cmocka_unit_test(a_stream_that_begins_anew_is_looked_at_again),
        cmocka_unit_test(whole_blocks_go_where_entries_are_sealed),
        cmocka_unit_test(a_damaged_block_holds_up_nobody_else_and_goes_when_it_is_old),
        cmocka_unit_test(a_full_disk_does_not_keep_entries),
        cmocka_unit_test(without_another_limit_what_is_acknowledged_goes),
        cmocka_unit_test(every_group_has_to_have_acknowledged),
        cmocka_unit_test(without_groups_nothing_goes_by_acknowledgements_alone),
        cmocka_unit_test(a_limit_waits_for_the_groups),
        cmocka_unit_test(what_is_inside_a_limit_stays_though_it_is_acknowledged),
        cmocka_unit_test(groups_are_waited_for_only_so_long),
        cmocka_unit_test(patterns_hold_acknowledgements_too),
        cmocka_unit_test(consuming_frees_a_full_disk),
        cmocka_unit_test(limits_are_kept_and_nothing_inside_them_goes_whatever_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
