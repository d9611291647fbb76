/*
 * when.c - see when.h. The first half of an entry's ID is its time in milliseconds, so a time is an
 * ID. Every number is checked; nothing is guessed from half a text.
 */
#include "cli/when.h"

#include <stdio.h>
#include <string.h>

static bool when_digits(const char **at, unsigned min, unsigned max, uint64_t *out)
{
    uint64_t v = 0;
    unsigned n = 0;

    for (; **at >= '0' && **at <= '9' && n < max; n++, (*at)++) {
        if (v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(**at - '0');
    }
    *out = v;
    return n >= min;
}

static bool when_parse_id(const char *text, struct when *out)
{
    const char *at = text + (*text == '(');
    uint64_t part;

    if (!when_digits(&at, 1, 20, &part))
        return false;
    if (*at == '-') {
        at++;
        if (!when_digits(&at, 1, 20, &part))
            return false;
    }
    if (*at != '\0')
        return false;
    out->kind = WHEN_ID;
    snprintf(out->id, sizeof out->id, "%s", text);
    return true;
}

static bool when_parse_ago(const char *text, struct when *out)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = { { "ms", 1 },      { "s", 1000 },     { "m", 60000 },    { "min", 60000 },
                  { "h", 3600000 }, { "d", 86400000 }, { "w", 604800000 } };
    const char *at = text;
    uint64_t n;
    size_t len;

    if (!when_digits(&at, 1, 12, &n))
        return false;
    at += strspn(at, " ");
    len = strcspn(at, " ");
    if (len == 0 || strcmp(at + len, " ago") != 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strlen(units[i].unit) == len && memcmp(units[i].unit, at, len) == 0) {
            out->kind = WHEN_AGO;
            out->ms = n * units[i].ms; /* below 10^12 * 604800000, which fits */
            return true;
        }
    return false;
}

static bool when_literal(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. */
static int64_t when_days(uint64_t year, uint64_t month, uint64_t day)
{
    int64_t y = (int64_t)year - (month <= 2);
    int64_t shifted = (int64_t)(month + 9) % 12; /* March is 0 */

    return y * 365 + y / 4 - y / 100 + y / 400 + (shifted * 153 + 2) / 5 + (int64_t)day - 719469;
}

static bool when_parse_date(const char **at, int64_t *days)
{
    static const unsigned char lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    uint64_t year, month, day;
    bool leap;

    if (!when_digits(at, 4, 4, &year) || !when_literal(at, '-') || !when_digits(at, 2, 2, &month) ||
        !when_literal(at, '-') || !when_digits(at, 2, 2, &day))
        return false;
    leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1970 || month < 1 || month > 12 || day < 1 ||
        day > (uint64_t)lengths[month - 1] + (month == 2 && leap))
        return false;
    *days = when_days(year, month, day);
    return true;
}

/* "12:30", "12:30:59", "12:30:59.25". */
static bool when_parse_clock(const char **at, int64_t *ms)
{
    uint64_t hour, minute, second = 0, fraction = 0;

    if (!when_digits(at, 2, 2, &hour) || !when_literal(at, ':') || !when_digits(at, 2, 2, &minute))
        return false;
    if (when_literal(at, ':')) {
        if (!when_digits(at, 2, 2, &second))
            return false;
        if (when_literal(at, '.')) {
            uint64_t unit = 100;
            if (**at < '0' || **at > '9')
                return false;
            for (; **at >= '0' && **at <= '9'; (*at)++, unit /= 10)
                fraction += unit * (uint64_t)(**at - '0');
        }
    }
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    *ms = (int64_t)((hour * 60 + minute) * 60 + second) * 1000 + (int64_t)fraction;
    return true;
}

/* "Z", "+02:00", "-0330", or nothing, which is UTC. */
static bool when_parse_zone(const char **at, int64_t *ms)
{
    uint64_t hour, minute;
    bool minus = **at == '-';

    *ms = 0;
    if (when_literal(at, 'Z') || when_literal(at, 'z') || **at == '\0')
        return true;
    if (!when_literal(at, '+') && !when_literal(at, '-'))
        return false;
    if (!when_digits(at, 2, 2, &hour))
        return false;
    when_literal(at, ':');
    if (!when_digits(at, 2, 2, &minute) || hour > 23 || minute > 59)
        return false;
    *ms = (int64_t)(hour * 60 + minute) * 60000 * (minus ? -1 : 1);
    return true;
}

static bool when_parse_time(const char *text, struct when *out)
{
    const char *at = text;
    int64_t days, clock = 0, zone = 0, ms;

    if (!when_parse_date(&at, &days))
        return false;
    if (*at == 'T' || *at == 't' || *at == ' ') {
        at++;
        if (!when_parse_clock(&at, &clock) || !when_parse_zone(&at, &zone))
            return false;
    }
    ms = days * 86400000 + clock - zone;
    if (*at != '\0' || ms < 0)
        return false;
    out->kind = WHEN_ID;
    snprintf(out->id, sizeof out->id, "%lld", (long long)ms);
    return true;
}

bool when_parse(const char *text, struct when *out)
{
    memset(out, 0, sizeof *out);
    if (strcmp(text, "start") == 0 || strcmp(text, "-") == 0) {
        out->kind = WHEN_START;
        return true;
    }
    if (strcmp(text, "end") == 0 || strcmp(text, "$") == 0) {
        out->kind = WHEN_END;
        return true;
    }
    return when_parse_id(text, out) || when_parse_ago(text, out) || when_parse_time(text, out);
}
