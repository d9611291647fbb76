/*
 * memory.c - how much memory there is: the machine's, or less where a control group limits it.
 *
 * /proc/self/cgroup has a line for each hierarchy, `number:controllers:path`. In version 2 the line begins with `0::` and the
 * limit of a group is its file memory.max; in version 1 the line is that of the controller `memory` and the file
 * memory.limit_in_bytes. A group can use no more than any group around it, so every directory up to the top counts.
 * In a container the path may be the host's while what is mounted begins at the container's own group: then none of the
 * directories is there but the top, and that is the limit.
 */
#include "broker/cache/memory.h"
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MEMORY_LINE = PATH_MAX + 64 };

static uint64_t memory_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The number in a file; UINT64_MAX if there is none ("max", or no such file). */
static uint64_t memory_read(const char *path)
{
    FILE *f = fopen(path, "re");
    uint64_t n = UINT64_MAX;

    if (f == NULL)
        return UINT64_MAX;
    if (fscanf(f, "%" SCNu64, &n) != 1)
        n = UINT64_MAX;
    fclose(f);
    return n;
}

/* The least limit of the group at `path` below `top` and of those around it. */
static uint64_t memory_of_groups(const char *top, char *path, const char *file)
{
    uint64_t least = UINT64_MAX;
    char name[2 * PATH_MAX];

    for (;;) {
        char *slash = strrchr(path, '/');
        if (snprintf(name, sizeof name, "%s%s/%s", top, path, file) < (int)sizeof name)
            least = memory_least(least, memory_read(name));
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

/* Whether a list of controllers, with commas between them, has `memory`. */
static bool memory_is_among(const char *controllers)
{
    static const char name[] = "memory";

    for (;;) {
        size_t n = strcspn(controllers, ",");
        if (n == sizeof name - 1 && memcmp(controllers, name, n) == 0)
            return true;
        if (controllers[n] == '\0')
            return false;
        controllers += n + 1;
    }
}

/* What one line of /proc/self/cgroup limits. */
static uint64_t memory_of_line(const char *root, char *line)
{
    char *controllers = strchr(line, ':'), *path, top[PATH_MAX];
    bool second;

    line[strcspn(line, "\n")] = '\0';
    if (controllers == NULL)
        return UINT64_MAX;
    *controllers++ = '\0';
    path = strchr(controllers, ':');
    if (path == NULL)
        return UINT64_MAX;
    *path++ = '\0';
    second = *controllers == '\0';
    if (!second && !memory_is_among(controllers))
        return UINT64_MAX;
    snprintf(top, sizeof top, "%s/sys/fs/cgroup%s", root, second ? "" : "/memory");
    return memory_of_groups(top, path, second ? "memory.max" : "memory.limit_in_bytes");
}

uint64_t memory_limit(const char *root, uint64_t physical)
{
    char path[PATH_MAX], line[MEMORY_LINE];
    uint64_t least = physical;
    FILE *f;

    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    f = fopen(path, "re");
    if (f == NULL)
        return least;
    while (fgets(line, sizeof line, f) != NULL)
        least = memory_least(least, memory_of_line(root, line));
    fclose(f);
    return least;
}

uint64_t memory_available(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return memory_limit("", pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX);
}
