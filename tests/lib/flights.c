/*
 * flights.c - real events for benchmarks: the JSON Lines of tests/lib/flights.py, split into fields.
 *
 * The Python program knows where flights come from and how to make more of them; here its output is only
 * read. Values that are no strings are passed on as their JSON text.
 */
#include "tests/lib/flights.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static int flights_split(const char *line, flights_fn *each, void *ctx, struct err *e)
{
    json_t *object = json_loads(line, 0, NULL), *value;
    struct slice strings[FLIGHT_STRINGS_MAX];
    char *owned[FLIGHT_STRINGS_MAX];
    size_t n = 0, n_owned = 0;
    const char *name;

    if (!json_is_object(object) || json_object_size(object) > FLIGHT_STRINGS_MAX / 2) {
        json_decref(object);
        return err_set(e, ERR_FORMAT, "not a flight: %.100s", line);
    }
    json_object_foreach(object, name, value)
    {
        char *text =
            json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        strings[n++] = slice_str(name);
        strings[n++] = slice_str(text ? text : json_string_value(value));
        if (text != NULL)
            owned[n_owned++] = text;
    }
    each(ctx, strings, n);
    while (n_owned > 0)
        free(owned[--n_owned]);
    json_decref(object);
    return OK;
}

int flights_each(size_t n, flights_fn *each, void *ctx, struct err *e)
{
    const char *python = getenv("PYTHON");
    char command[256], *line = NULL;
    size_t cap = 0, seen = 0;
    FILE *lines;
    int rc = OK;

    snprintf(command, sizeof command, "%s tests/lib/flights.py %zu", python ? python : "python3",
             n);
    lines = popen(command, "r");
    if (lines == NULL)
        return err_sys(e, ERR_IO, "run %s", command);
    while (rc == OK && getline(&line, &cap, lines) > 0) {
        rc = flights_split(line, each, ctx, e);
        seen++;
    }
    free(line);
    if (pclose(lines) != 0 && rc == OK)
        rc = err_set(e, ERR_IO, "%s failed", command);
    if (rc == OK && seen != n)
        rc = err_set(e, ERR_IO, "%s gave %zu flights", command, seen);
    return rc;
}
