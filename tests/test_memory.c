/* test_memory.c - how much memory there is, from files as Linux has them in both versions of control groups. */
#include "broker/cache/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static const uint64_t PHYSICAL = 64ull << 30;

struct root {
    char path[64];
};

static void root_new(struct root *r)
{
    snprintf(r->path, sizeof r->path, "/tmp/beck-memory-XXXXXX");
    assert_non_null(mkdtemp(r->path));
}

static void root_free(const struct root *r)
{
    char command[128];

    snprintf(command, sizeof command, "rm -r %s", r->path);
    assert_int_equal(system(command), 0); /* NOLINT: the path is mkdtemp's */
}

/* A file below the root, with the directories that it needs. */
static void root_put(const struct root *r, const char *name, const char *text)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", r->path, name);
    for (char *p = path + strlen(r->path) + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        (void)mkdir(path, 0700); /* it may be there */
    }
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void limit_is(const char *const files[][2], size_t n, uint64_t want)
{
    struct root r;

    root_new(&r);
    for (size_t i = 0; i < n; i++)
        root_put(&r, files[i][0], files[i][1]);
    assert_int_equal(memory_limit(r.path, PHYSICAL), want);
    root_free(&r);
}

#define LIMIT_IS(files, want) limit_is(files, sizeof(files) / sizeof((files)[0]), want)

static void without_groups_it_is_the_machines(void **state)
{
    const char *const no_limit[][2] = { { "proc/self/cgroup", "0::/\n" } };

    (void)state;
    limit_is(NULL, 0, PHYSICAL);
    LIMIT_IS(no_limit, PHYSICAL);
}

static void version_2_limits_by_the_least_of_all_groups_around(void **state)
{
    const char *const own[][2] = { { "proc/self/cgroup", "0::/a.slice/b.service\n" },
                                   { "sys/fs/cgroup/a.slice/memory.max", "max\n" },
                                   { "sys/fs/cgroup/a.slice/b.service/memory.max",
                                     "1073741824\n" } };
    const char *const around[][2] = { { "proc/self/cgroup", "0::/a.slice/b.service\n" },
                                      { "sys/fs/cgroup/a.slice/memory.max", "536870912\n" },
                                      { "sys/fs/cgroup/a.slice/b.service/memory.max", "max\n" } };

    (void)state;
    LIMIT_IS(own, 1ull << 30);
    LIMIT_IS(around, 512ull << 20);
}

static void version_1_limits_by_its_controller(void **state)
{
    const char *const v1[][2] = {
        { "proc/self/cgroup", "9:name=systemd:/\n8:pids:/x\n4:cpu,memory:/docker/abc\n" },
        { "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n" },
        { "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "268435456\n" },
        { "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1\n" }
    };
    const char *const both[][2] = { { "proc/self/cgroup", "4:memory:/\n0::/user\n" },
                                    { "sys/fs/cgroup/memory/memory.limit_in_bytes",
                                      "2147483648\n" } };

    (void)state;
    LIMIT_IS(v1, 256ull << 20);
    LIMIT_IS(both, 2ull << 30);
}

static void in_a_container_the_top_is_its_own_group(void **state)
{
    const char *const files[][2] = { { "proc/self/cgroup", "3:memory:/docker/abc\n" },
                                     { "sys/fs/cgroup/memory/memory.limit_in_bytes",
                                       "100000000\n" } };

    (void)state;
    LIMIT_IS(files, 100000000);
}

static void what_cannot_be_read_limits_nothing(void **state)
{
    const char *const files[][2] = { { "proc/self/cgroup", "nonsense\n7\n:\n::\n0::no slash\n" },
                                     { "sys/fs/cgroup/memory.max", "many\n" } };

    (void)state;
    LIMIT_IS(files, PHYSICAL);
}

static void this_machine_has_some(void **state)
{
    (void)state;
    assert_in_range(memory_available(), 1 << 20, 1ull << 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_groups_it_is_the_machines),
        cmocka_unit_test(version_2_limits_by_the_least_of_all_groups_around),
        cmocka_unit_test(version_1_limits_by_its_controller),
        cmocka_unit_test(in_a_container_the_top_is_its_own_group),
        cmocka_unit_test(what_cannot_be_read_limits_nothing),
        cmocka_unit_test(this_machine_has_some),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
