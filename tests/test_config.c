/* test_config.c - claims about settings: where they come from, what is refused, and in which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "broker/config.h"
#include "log/log.h"

static int init(void **state)
{
    static struct config c;
    struct err e;

    *state = &c;
    return config_init(&c, &e);
}

static int fini(void **state)
{
    config_fini(*state);
    return 0;
}

/* Applies flags, ending with NULL. */
static int flags(struct config *c, struct err *e, const char *const *args)
{
    char *argv[16] = { "beckd" };
    int argc = 1;

    while (*args != NULL)
        argv[argc++] = (char *)(uintptr_t)*args++;
    return config_parse_args(c, argc, argv, e);
}

#define FLAGS(c, e, ...) flags(c, e, (const char *const[]){ __VA_ARGS__, NULL })

/* Writes a file of settings; its path is good until the next call. */
static const char *file_of(const char *text)
{
    static char path[64];
    FILE *f;

    snprintf(path, sizeof path, "/tmp/test_config.%ld", (long)getpid());
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void collect(void *ctx, const char *key, const char *value)
{
    char *out = ctx;
    size_t used = strlen(out);

    snprintf(out + used, 1024 - used, "%s=%s;", key, value);
}

static const char *get(const struct config *c, const char *glob)
{
    static char out[1024];

    out[0] = '\0';
    config_get(c, slice_str(glob), collect, out);
    return out;
}

static int set(struct config *c, const char *key, const char *value, struct err *e)
{
    return config_set(c, slice_str(key), slice_str(value), e);
}

static void the_defaults_are_those_that_are_documented(void **state)
{
    struct config *c = *state;
    struct err e;

    assert_int_equal(c->port, 7878);
    assert_int_equal(c->n_bind, 2);
    assert_string_equal(c->bind[0], "127.0.0.1");
    assert_null(c->unixsocket);
    assert_int_equal(c->unixsocketperm, 0700);
    assert_true(c->protected_mode);
    assert_int_equal(c->maxclients, 10000);
    assert_int_equal(c->stream_durability, LOG_ALWAYS);
    assert_int_equal(c->cache_durability, LOG_INTERVAL);
    assert_int_equal(c->wal_file_bytes, 16 << 20);
    assert_int_equal(c->arena_bytes, 16 << 20);
    assert_int_equal(c->cache_bytes, 16 << 20);
    assert_int_equal(c->stream_codec, LOG_CODEC_AUTO);
    assert_int_equal(c->retention_age_ms, 0);
    assert_int_equal(c->stream_settings.n, 0);
    assert_int_equal(c->max_bulk_len, 64 << 20);
    assert_int_equal(c->output_pubsub.hard_bytes, 32 << 20);
    assert_int_equal(c->output_pubsub.soft_s, 60);
    assert_int_equal(config_check(c, &e), OK);
}

static void flags_come_in_both_forms_and_a_bool_may_stand_alone(void **state)
{
    struct config *c = *state;
    struct err e;

    assert_int_equal(FLAGS(c, &e, "--port", "0", "--dir=/x", "--salvage", "--protected-mode", "no",
                           "--bind", "10.0.0.1 ::1", "--log-level", "debug"),
                     OK);
    assert_int_equal(c->port, 0);
    assert_string_equal(c->dir, "/x");
    assert_true(c->salvage);
    assert_false(c->protected_mode);
    assert_int_equal(c->n_bind, 2);
    assert_string_equal(c->bind[1], "::1");
    assert_int_equal(c->log_level, CONFIG_LOG_DEBUG);
}

static void a_file_is_read_with_comments_quotes_and_values_of_several_words(void **state)
{
    struct config *c = *state;
    struct err e;
    const char *path = file_of("# a comment\n"
                               "\n"
                               "  port 1234  \r\n"
                               "dir \"/a b\\\"c\"\n"
                               "requirepass 'it''s'\n");

    assert_int_equal(FLAGS(c, &e, "--config", path), ERR_USAGE); /* a quote must end a word */
    path =
        file_of("# a comment\n\n  port 1234  \r\ndir \"/a b\\\"c\"\nrequirepass 'a b'\n"
                "client-output-buffer-limit normal 1mb 2k 3\nbind 127.0.0.1   ::1\nmaxclients 5\n");
    assert_int_equal(FLAGS(c, &e, "--maxclients", "6", "--config", path), OK);
    assert_int_equal(c->port, 1234);
    assert_string_equal(c->dir, "/a b\"c");
    assert_string_equal(c->requirepass, "a b");
    assert_int_equal(c->output_normal.hard_bytes, 1 << 20);
    assert_int_equal(c->output_normal.soft_bytes, 2000);
    assert_int_equal(c->n_bind, 2);
    assert_int_equal(c->maxclients, 6); /* the flag wins, wherever it stands */
    assert_string_equal(c->config_file, path);
    unlink(path);
}

static void mistakes_in_a_file_are_told_with_their_line(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "port 1\nprot 2\n", ":2: unknown setting 'prot', did you mean 'port'?" },
        { "\nmaxclients many\n",
          ":2: bad value 'many' for maxclients: argument couldn't be parsed into an integer" },
        { "port\n", ":1: 'port' needs a value" },
        { "dir \"x\n", ":1: unbalanced quotes" },
        { "save 60 1\n", ":1: 'save' cannot be set" },
    };
    struct config *c = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = file_of(cases[i].text);
        struct err e;
        print_message("  %s\n", cases[i].want);
        assert_int_equal(FLAGS(c, &e, "--config", path), ERR_USAGE);
        assert_memory_equal(e.text, path, strlen(path));
        assert_string_equal(e.text + strlen(path), cases[i].want);
        unlink(path);
    }
}

static void wrong_flags_are_refused_and_say_what_would_be_right(void **state)
{
    static const struct {
        const char *key, *value, *want;
    } cases[] = {
        { "--prot", "1", "unknown setting 'prot', did you mean 'port'?" },
        { "--stream-durabilty", "os",
          "unknown setting 'stream-durabilty', did you mean 'stream-durability'?" },
        { "--xyzzy", "1", "unknown setting 'xyzzy', see --help" },
        { "--port", "70000",
          "bad value '70000' for --port: argument must be between 0 and 65535 inclusive" },
        { "--port", "", "bad value '' for --port: argument couldn't be parsed into an integer" },
        { "--port", "1x",
          "bad value '1x' for --port: argument couldn't be parsed into an integer" },
        { "--port", NULL, "--port needs a value" },
        { "--stream-durability", "never",
          "bad value 'never' for --stream-durability: argument(s) must be one of the following: "
          "os, "
          "interval, always" },
        { "--wal-file-bytes", "big",
          "bad value 'big' for --wal-file-bytes: argument must be a memory value" },
        { "--wal-file-bytes", "99999999999999999999gb",
          "bad value '99999999999999999999gb' for --wal-file-bytes: argument must be a memory "
          "value" },
        { "--wal-file-bytes", "1k",
          "bad value '1k' for --wal-file-bytes: argument must be between 65536 and 1099511627776 "
          "inclusive" },
        { "--unixsocketperm", "888",
          "bad value '888' for --unixsocketperm: argument couldn't be parsed into an integer" },
        { "port", "1", "'port' is no flag; settings are given as --key value" },
        { "--appendonly", "no", "'appendonly' cannot be set" },
        { "--config", "/nonexistent/x", "read /nonexistent/x: No such file or directory" },
    };
    struct config *c = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e;
        int rc = FLAGS(c, &e, cases[i].key, cases[i].value);
        print_message("  %s\n", cases[i].want);
        assert_true(rc == ERR_USAGE || rc == ERR_IO);
        assert_string_equal(e.text, cases[i].want);
    }
    assert_int_equal(c->port, 7878);
}

static void listening_beyond_loopback_needs_a_password_or_a_clear_word(void **state)
{
    struct config *c = *state;
    struct err e;

    assert_int_equal(FLAGS(c, &e, "--bind", "127.0.0.1 0.0.0.0"), OK);
    assert_int_equal(config_check(c, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "bind 0.0.0.0"));
    assert_non_null(strstr(e.text, "requirepass"));
    assert_non_null(strstr(e.text, "--protected-mode no"));
    assert_int_equal(FLAGS(c, &e, "--requirepass", "secret"), OK);
    assert_int_equal(config_check(c, &e), OK);
    assert_int_equal(set(c, "requirepass", "", &e), ERR_USAGE); /* nor may it be taken away later */
    assert_string_equal(c->requirepass, "secret");
    assert_int_equal(FLAGS(c, &e, "--requirepass", "", "--protected-mode", "no"), OK);
    assert_int_equal(config_check(c, &e), OK);
}

static void settings_that_contradict_each_other_are_refused(void **state)
{
    struct config *c = *state;
    struct err e;

    assert_int_equal(FLAGS(c, &e, "--bind", ""), OK);
    assert_int_equal(config_check(c, &e), ERR_USAGE);
    assert_int_equal(FLAGS(c, &e, "--unixsocket", "/x"), OK);
    assert_int_equal(config_check(c, &e), OK);
    assert_int_equal(FLAGS(c, &e, "--max-batch-bytes", "32mb"), OK);
    assert_int_equal(config_check(c, &e), ERR_USAGE);
}

static void config_set_speaks_redis(void **state)
{
    static const struct {
        const char *key, *value, *want;
    } cases[] = {
        { "foo", "bar", "Unknown option or number of arguments for CONFIG SET - 'foo'" },
        { "unixsocket", "/x", "%'unixsocket') - can't set immutable config" },
        { "databases", "3", "%'databases') - can't set immutable config" },
        { "save", "", "%'save') - can't set immutable config" },
        { "appendonly", "no", "%'appendonly') - can't set immutable config" },
        { "appendfsync", "no", "%'appendfsync') - can't set immutable config" },
        { "maxclients", "0",
          "%'maxclients') - argument must be between 1 and 4294967295 inclusive" },
        { "maxclients", "x", "%'maxclients') - argument couldn't be parsed into an integer" },
        { "timeout", "-1", "%'timeout') - argument must be between 0 and 2147483647 inclusive" },
        { "timeout", "10k", "%'timeout') - argument couldn't be parsed into an integer" },
        { "proto-max-bulk-len", "x", "%'proto-max-bulk-len') - argument must be a memory value" },
        { "proto-max-bulk-len", "-1", "%'proto-max-bulk-len') - argument must be a memory value" },
        { "proto-max-bulk-len", "1",
          "%'proto-max-bulk-len') - argument must be between 1048576 and 536870912 inclusive" },
        { "protected-mode", "maybe", "%'protected-mode') - argument must be 'yes' or 'no'" },
        { "loglevel", "foo",
          "%'loglevel') - argument(s) must be one of the following: debug, verbose, notice, "
          "warning" },
        { "notify-keyspace-events", "KEq",
          "%'notify-keyspace-events') - Invalid event class character. Use "
          "'Ag$lshzxeKEtmdn'." },
        { "client-output-buffer-limit", "foo 1 1 1",
          "%'client-output-buffer-limit') - Invalid client class specified in buffer limit "
          "configuration." },
        { "client-output-buffer-limit", "normal 1 1",
          "%'client-output-buffer-limit') - Wrong number of arguments in buffer limit "
          "configuration." },
        { "client-output-buffer-limit", "normal x 1 1",
          "%'client-output-buffer-limit') - Error in hard, soft or soft_seconds setting in buffer "
          "limit "
          "configuration." },
    };
    struct config *c = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[320];
        struct err e;
        snprintf(want, sizeof want, "%s%s",
                 *cases[i].want == '%' ? "CONFIG SET failed (possibly related to argument " : "",
                 cases[i].want + (*cases[i].want == '%'));
        print_message("  %s\n", cases[i].want);
        assert_int_equal(set(c, cases[i].key, cases[i].value, &e), ERR_USAGE);
        assert_string_equal(e.text, want);
    }
}

static void letters_of_events_are_shown_in_redis_order(void **state)
{
    static const struct {
        const char *given, *shown;
    } cases[] = {
        { "KEA", "AKE" },   { "g$lshzxetdKE", "AKE" }, { "nmEKg", "gKEmn" },
        { "AKEn", "AKEn" }, { "KKgg", "gK" },          { "", "" },
        { "xgEK", "gxKE" },
    };
    struct config *c = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[64];
        struct err e;
        print_message("  %s\n", cases[i].given);
        assert_int_equal(set(c, "notify-keyspace-events", cases[i].given, &e), OK);
        snprintf(want, sizeof want, "notify-keyspace-events=%s;", cases[i].shown);
        assert_string_equal(get(c, "notify-keyspace-events"), want);
    }
}

static void several_settings_change_together_or_not_at_all(void **state)
{
    struct config *c = *state;
    const struct slice bad[] = { slice_str("maxclients"), slice_str("77"), slice_str("timeout"),
                                 slice_str("x") };
    const struct slice twice[] = { slice_str("timeout"), slice_str("1"), slice_str("TimeOut"),
                                   slice_str("2") };
    const struct slice good[] = { slice_str("MAXCLIENTS"), slice_str("77"),
                                  slice_str("requirepass"), slice_str("secret") };
    struct err e;

    assert_int_equal(config_set_all(c, bad, 4, &e), ERR_USAGE);
    assert_int_equal(c->maxclients, 10000);
    assert_int_equal(config_set_all(c, twice, 4, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "duplicate parameter"));
    assert_int_equal(config_set_all(c, good, 4, &e), OK);
    assert_int_equal(c->maxclients, 77);
    assert_string_equal(c->requirepass, "secret");
}

static void config_get_tells_what_clients_ask_for(void **state)
{
    struct config *c = *state;
    struct err e;

    assert_string_equal(get(c, "save"), "save=;");
    assert_string_equal(get(c, "append*"), "appendonly=yes;appendfsync=always;");
    assert_int_equal(set(c, "stream-durability", "interval", &e), OK);
    assert_string_equal(get(c, "APPENDFSYNC"), "appendfsync=everysec;");
    assert_string_equal(get(c, "databases"), "databases=16;");
    assert_string_equal(get(c, "maxmemory-policy"), "maxmemory-policy=noeviction;");
    assert_string_equal(get(c, "proto-max-bulk-len"), "proto-max-bulk-len=67108864;");
    assert_string_equal(get(c, "bind"), "bind=127.0.0.1 -::1;");
    assert_string_equal(get(c, "unixsocketperm"), "unixsocketperm=700;");
    assert_string_equal(
        get(c, "client-output-buffer-limit"),
        "client-output-buffer-limit=normal 0 0 0 slave 268435456 67108864 60 pubsub "
        "33554432 8388608 60;");
    assert_string_equal(get(c, "nothing"), "");
}

static void rules_for_streams_add_up_in_files_and_flags_replace_them(void **state)
{
    struct config *c = *state;
    struct err e;
    const char *path = file_of("stream-settings orders:* RETENTION-AGE 1000 codec ZSTD:3\n"
                               "stream-settings \"log[a b]:*\" RETENTION-BYTES 1mb\n"
                               "stream-settings x DURABILITY os y RETENTION-LEN 5 CODEC none\n");

    assert_int_equal(FLAGS(c, &e, "--config", path), ERR_USAGE); /* a blank ends a pattern */
    path = file_of("stream-settings orders:* RETENTION-AGE 1000 codec ZSTD:3\n"
                   "stream-settings x DURABILITY os y RETENTION-LEN 5 CODEC none\n");
    settings_rules_fini(&c->stream_settings);
    assert_int_equal(FLAGS(c, &e, "--config", path), OK);
    assert_string_equal(get(c, "stream-settings"),
                        "stream-settings=orders:* RETENTION-AGE 1000 CODEC zstd:3 x DURABILITY os "
                        "y RETENTION-LEN 5 CODEC none;");
    assert_int_equal(settings_rules_find(&c->stream_settings, slice_str("orders:1")), 0);
    assert_int_equal(settings_rules_find(&c->stream_settings, slice_str("y")), 2);
    assert_int_equal(settings_rules_find(&c->stream_settings, slice_str("z")), 3);
    assert_int_equal(FLAGS(c, &e, "--stream-settings", "a CODEC lz4", "--config", path,
                           "--stream-settings", "* CODEC auto"),
                     OK);
    assert_string_equal(get(c, "stream-settings"), "stream-settings=a CODEC lz4 * CODEC auto;");
    unlink(path);
}

static void rules_for_streams_can_be_read_back_and_the_first_that_matches_holds(void **state)
{
    struct config *c = *state;
    struct err e;

    assert_int_equal(
        set(c, "stream-settings", "a* RETENTION-LEN 1 RETENTION-LEN 2 ab CODEC lz4", &e), OK);
    assert_string_equal(get(c, "stream-settings"),
                        "stream-settings=a* RETENTION-LEN 2 ab CODEC lz4;");
    assert_int_equal(settings_rules_find(&c->stream_settings, slice_str("ab")), 0);
    assert_int_equal(c->stream_settings.rules[0].values[SETTING_RETENTION_LEN], 2);
    assert_int_equal(set(c, "timeout", "7", &e), OK); /* another one leaves them */
    assert_string_equal(get(c, "stream-settings"),
                        "stream-settings=a* RETENTION-LEN 2 ab CODEC lz4;");
    assert_int_equal(set(c, "stream-settings", "", &e), OK);
    assert_string_equal(get(c, "stream-settings"), "stream-settings=;");
}

static void bad_rules_for_streams_are_refused_with_what_would_be_right(void **state)
{
    static const struct {
        const char *value, *want;
    } cases[] = {
        { "a",
          "behind the pattern 'a' comes one of RETENTION-AGE, RETENTION-BYTES, RETENTION-LEN, "
          "RETENTION-ACKED, RETENTION-ACKED-MAX-AGE, CODEC, DURABILITY and its value, not ''" },
        { "a IDMP-MAXSIZE 5", "CODEC, DURABILITY and its value, not 'IDMP-MAXSIZE'" },
        { "a RETENTION-ACKED maybe", "RETENTION-ACKED must be " },
        { "a CODEC", "CODEC needs a value" },
        { "Codec CODEC lz4", "'Codec' is an option, where a pattern must stand; write [C]odec for "
                             "a stream of that name" },
        { "a CODEC zstd:20", "CODEC must be auto, none, lz4, zstd, or zstd with a level from "
                             "zstd:1 to zstd:19, not 'zstd:20'" },
        { "a CODEC lz4:1", "CODEC must be auto, none, lz4, zstd, or zstd with a level from "
                           "zstd:1 to zstd:19, not 'lz4:1'" },
        { "a RETENTION-AGE 1d", "RETENTION-AGE must be a number of milliseconds (0: no limit), "
                                "not '1d'" },
        { "a RETENTION-BYTES -1", "RETENTION-BYTES must be a number of bytes, as 1000 or 64mb "
                                  "(0: no limit), not '-1'" },
        { "a RETENTION-LEN 9223372036854775808",
          "RETENTION-LEN must be a number of entries (0: no limit), not '9223372036854775808'" },
        { "a DURABILITY never", "DURABILITY must be always, interval or os, not 'never'" },
    };
    struct config *c = *state;
    struct err e;

    assert_int_equal(set(c, "stream-settings", "k CODEC lz4", &e), OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].want);
        assert_int_equal(set(c, "stream-settings", cases[i].value, &e), ERR_USAGE);
        assert_non_null(strstr(e.text, cases[i].want));
        assert_string_equal(get(c, "stream-settings"), "stream-settings=k CODEC lz4;");
    }
}

static void rules_for_streams_have_a_maximum(void **state)
{
    char text[64 * 16 + 32] = "", glob[SETTINGS_GLOB_MAX + 32];
    struct config *c = *state;
    struct err e;

    for (int i = 0; i < SETTINGS_RULES_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "p%d CODEC lz4 ", i);
    assert_int_equal(set(c, "stream-settings", text, &e), OK);
    snprintf(text + strlen(text), sizeof text - strlen(text), "q CODEC lz4");
    assert_int_equal(set(c, "stream-settings", text, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "at most 64 patterns are possible"));
    memset(glob, 'g', SETTINGS_GLOB_MAX + 1);
    memcpy(glob + SETTINGS_GLOB_MAX + 1, " CODEC lz4", 11);
    assert_int_equal(set(c, "stream-settings", glob, &e), ERR_USAGE);
    assert_int_equal(set(c, "stream-settings", glob + 1, &e), OK);
}

static void the_longest_rules_can_be_copied_with_the_configuration(void **state)
{
    char text[32 << 10] = "";
    struct config *c = *state;
    struct err e;
    size_t used = 0;

    for (int i = 0; i < SETTINGS_RULES_MAX; i++)
        used += (size_t)snprintf(
            text + used, sizeof text - used,
            "%0*d RETENTION-AGE 9223372036854775807 RETENTION-BYTES 9223372036854775807 "
            "RETENTION-LEN 9223372036854775807 CODEC zstd:19 DURABILITY interval ",
            SETTINGS_GLOB_MAX, i);
    text[used - 1] = '\0';
    assert_int_equal(set(c, "stream-settings", text, &e), OK);
    assert_int_equal(set(c, "timeout", "9", &e), OK);
    assert_int_equal(c->stream_settings.n, SETTINGS_RULES_MAX);
    assert_string_equal(c->stream_settings.text, text);
}

/* ---- changes of keys ---- */

static void views_of_changes_add_up_in_files_and_flags(void **state)
{
    const char *path =
        file_of("changes-view users user: VALUES yes\nchanges-view all \"\\\"\\\"\"\n");
    struct config *c = *state;
    struct err e;

    assert_int_equal(FLAGS(c, &e, "--config", path), OK);
    assert_string_equal(get(c, "changes-view"), "changes-view=users user: VALUES yes all \"\";");
    assert_int_equal(set(c, "changes-view", "", &e), OK);
    assert_int_equal(FLAGS(c, &e, "--changes-view", "a b:", "--config", path, "--changes-view",
                           "c d: values NO"),
                     OK);
    assert_string_equal(get(c, "changes-view"), "changes-view=a b: c d:;");
    assert_int_equal(set(c, "changes-view", "", &e), OK);
    assert_string_equal(get(c, "changes-view"), "changes-view=;");
}

static void bad_views_of_changes_are_refused(void **state)
{
    static const struct {
        const char *value, *want;
    } cases[] = {
        { "a", "the view 'a' needs a prefix of keys; \"\" for all" },
        { "values b", "VALUES stands where the name of a view must be" },
        { "a b VALUES maybe", "behind VALUES of the view 'a' comes yes or no" },
        { "a b a c", "there are two views 'a'" },
        { "1 a 2 a 3 a 4 a 5 a 6 a 7 a 8 a 9 a 10 a 11 a 12 a 13 a 14 a 15 a 16 a 17 a",
          "at most 16 views are possible" },
    };
    struct config *c = *state;
    struct err e;

    assert_int_equal(set(c, "changes-view", "k l", &e), OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(set(c, "changes-view", cases[i].value, &e), ERR_USAGE);
        if (strstr(e.text, cases[i].want) == NULL)
            fail_msg("%s: %s", cases[i].want, e.text);
        assert_string_equal(get(c, "changes-view"), "changes-view=k l;");
    }
}

static void times_have_units(void **state)
{
    static const struct {
        const char *value, *shown;
        int64_t ms; /* 0: refused */
    } cases[] = {
        { "90m", "90m", 5400000 },
        { "2H", "2h", 7200000 },
        { "1500", "1500ms", 1500 },
        { "86400s", "1d", 86400000 },
        { "1001ms", "1001ms", 1001 },
        { "1w", NULL, 0 },
        { "", NULL, 0 },
        { "-1s", NULL, 0 },
        { "999ms", NULL, 0 },
        { "99999999999999999999d", NULL, 0 },
    };
    struct config *c = *state;
    char want[64];
    struct err e;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(set(c, "cache-history-age", cases[i].value, &e),
                         cases[i].ms > 0 ? OK : ERR_USAGE);
        if (cases[i].ms == 0)
            continue;
        assert_int_equal(c->cache_history_age_ms, cases[i].ms);
        snprintf(want, sizeof want, "cache-history-age=%s;", cases[i].shown);
        assert_string_equal(get(c, "cache-history-age"), want);
    }
}

#define WITH_CONFIG(test) cmocka_unit_test_setup_teardown(test, init, fini)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CONFIG(the_defaults_are_those_that_are_documented),
        WITH_CONFIG(flags_come_in_both_forms_and_a_bool_may_stand_alone),
        WITH_CONFIG(a_file_is_read_with_comments_quotes_and_values_of_several_words),
        WITH_CONFIG(mistakes_in_a_file_are_told_with_their_line),
        WITH_CONFIG(wrong_flags_are_refused_and_say_what_would_be_right),
        WITH_CONFIG(listening_beyond_loopback_needs_a_password_or_a_clear_word),
        WITH_CONFIG(settings_that_contradict_each_other_are_refused),
        WITH_CONFIG(config_set_speaks_redis),
        WITH_CONFIG(letters_of_events_are_shown_in_redis_order),
        WITH_CONFIG(several_settings_change_together_or_not_at_all),
        WITH_CONFIG(config_get_tells_what_clients_ask_for),
        WITH_CONFIG(rules_for_streams_add_up_in_files_and_flags_replace_them),
        WITH_CONFIG(rules_for_streams_can_be_read_back_and_the_first_that_matches_holds),
        WITH_CONFIG(bad_rules_for_streams_are_refused_with_what_would_be_right),
        WITH_CONFIG(rules_for_streams_have_a_maximum),
        WITH_CONFIG(the_longest_rules_can_be_copied_with_the_configuration),
        WITH_CONFIG(views_of_changes_add_up_in_files_and_flags),
        WITH_CONFIG(bad_views_of_changes_are_refused),
        WITH_CONFIG(times_have_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
