/* test_command.c - claims about the table of commands: how they are found, and that each row is complete. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "broker/commands/syntax.h"
#include "broker/engine/command.h"

static uint8_t upper(char b)
{
    return (uint8_t)(b >= 'a' && b <= 'z' ? b - 'a' + 'A' : b);
}

static void every_command_is_found_in_any_case(void **state)
{
    (void)state;
    assert_true(command_count() > 30);
    for (size_t i = 0; i < command_count(); i++) {
        const struct command *cmd = command_at(i);
        uint8_t name[64];
        size_t n = strlen(cmd->name);
        assert_ptr_equal(command_find(slice_str(cmd->name)), cmd);
        for (size_t at = 0; at < n; at++)
            name[at] = at % 2 == 0 ? upper(cmd->name[at]) : (uint8_t)cmd->name[at];
        assert_ptr_equal(command_find(slice_of(name, n)), cmd);
    }
}

/* A name with any one byte replaced, removed or added is another name. */
static void nothing_else_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count(); i++) {
        const char *name = command_at(i)->name;
        size_t n = strlen(name);
        uint8_t other[66];
        for (size_t at = 0; at < n; at++) {
            for (int b = 0; b < 256; b++) {
                const struct command *found;
                memcpy(other, name, n);
                other[at] = (uint8_t)b;
                found = command_find(slice_of(other, n));
                if (b == (uint8_t)name[at] || b == upper(name[at]))
                    assert_ptr_equal(found, command_at(i));
                else
                    assert_ptr_not_equal(found, command_at(i));
            }
        }
        memcpy(other, name, n);
        other[n] = 's';
        assert_ptr_not_equal(command_find(slice_of(other, n + 1)), command_at(i));
        assert_ptr_not_equal(command_find(slice_of(other, n - 1)), command_at(i));
    }
    assert_null(command_find(slice_of("", 0)));
    assert_null(command_find(slice_of(NULL, 0)));
    assert_null(command_find(slice_str("a-name-that-is-longer-than-any-command-has-ever-been")));
}

static void subcommands_are_found_in_their_container_only(void **state)
{
    const struct command *client = command_find(slice_str("client"));
    const struct command *ping = command_find(slice_str("PING"));

    (void)state;
    assert_non_null(client);
    assert_non_null(ping);
    assert_string_equal(command_find_sub(client, slice_str("GetName"))->name, "client|getname");
    assert_null(command_find_sub(client, slice_str("rewrite")));
    assert_null(command_find_sub(client, slice_str("")));
    assert_null(command_find_sub(ping, slice_str("getname")));
}

static void check_row(const struct command *cmd)
{
    print_message("  %s\n", cmd->name);
    assert_int_not_equal(cmd->arity, 0);
    assert_non_null(cmd->group);
    assert_non_null(cmd->since);
    assert_non_null(cmd->complexity);
    assert_non_null(cmd->summary);
    assert_true(strlen(cmd->summary) > 3);
    assert_non_null(cmd->syntax);
    assert_true(syntax_count(cmd->syntax) <= 16); /* and it can be read */
    assert_true((cmd->flags & (CMD_WRITE | CMD_READONLY)) != (CMD_WRITE | CMD_READONLY));
    assert_int_equal((cmd->flags & CMD_MOVABLE_KEYS) != 0,
                     cmd->get_keys != NULL || cmd->key_count_at != 0);
    if (cmd->first_key != 0)
        assert_true(cmd->key_step > 0);
    assert_true(cmd->handler != NULL || cmd->subcommands != NULL);
    for (const struct command *s = cmd->subcommands; s != NULL && s->name != NULL; s++) {
        size_t n = strlen(cmd->name);
        assert_int_equal(strncmp(s->name, cmd->name, n), 0);
        assert_int_equal(s->name[n], '|');
        assert_non_null(s->handler);
        check_row(s);
    }
}

static void every_row_is_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count(); i++)
        check_row(command_at(i));
}

static void keys_are_where_the_table_says(void **state)
{
    static const struct {
        const char *why;
        struct command cmd;
        size_t argc, n, want[4];
    } cases[] = {
        { "none", { .name = "ping" }, 2, 0, { 0 } },
        { "one", { .name = "x", .first_key = 1, .last_key = 1, .key_step = 1 }, 4, 1, { 1 } },
        { "all",
          { .name = "x", .first_key = 1, .last_key = -1, .key_step = 1 },
          4,
          3,
          { 1, 2, 3 } },
        { "pairs", { .name = "x", .first_key = 1, .last_key = -1, .key_step = 2 }, 5, 2, { 1, 3 } },
        { "missing", { .name = "x", .first_key = 1, .last_key = 2, .key_step = 1 }, 2, 1, { 1 } },
    };
    struct slice argv[8] = { { NULL, 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t got[8];
        print_message("  %s\n", cases[i].why);
        assert_int_equal(command_keys(&cases[i].cmd, argv, cases[i].argc, got), cases[i].n);
        assert_memory_equal(got, cases[i].want, cases[i].n * sizeof got[0]);
    }
}

/* Printed, not asserted: a figure of this machine. */
static void finding_takes_a_few_nanoseconds(void **state)
{
    static const char *const names[] = { "XADD", "xread", "XRANGE", "Get", "PING", "XREVRANGE" };
    struct slice slices[6];
    struct timespec from, to;
    size_t found = 0, rounds = 6000000;

    (void)state;
    for (size_t i = 0; i < 6; i++)
        slices[i] = slice_str(names[i]);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (size_t i = 0; i < rounds; i++)
        found += command_find(slices[i % 6]) != NULL;
    clock_gettime(CLOCK_MONOTONIC, &to);
    print_message("  %.1f ns, %zu of %zu found\n",
                  ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
                      (double)rounds,
                  found, rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_found_in_any_case),
        cmocka_unit_test(nothing_else_is_found),
        cmocka_unit_test(subcommands_are_found_in_their_container_only),
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(keys_are_where_the_table_says),
        cmocka_unit_test(finding_takes_a_few_nanoseconds),
    };
    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
