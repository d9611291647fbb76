/*
 * when.c - see when.h. The first half of an entry's ID is its time in milliseconds, so a time is an
 * ID. Every number is checked; nothing is guessed from half a text.
 */
#include "cli/when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WHEN_MS_MAX UINT64_C(10000000000000) /* some 300 years */

static bool when_digits(const char **at, unsigned min, unsigned max, uint64_t *out)
{
    uint64_t v = 0;
    unsigned n = 0;

    for (; **at >= '0' && **at <= '9' && n < max; n++, (*at)++) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
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

/* The milliseconds of a unit of n bytes; 0 if it is none. */
static uint64_t when_unit(const char *unit, size_t n)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = { { "ms", 1 },      { "s", 1000 },     { "m", 60000 },    { "min", 60000 },
                  { "h", 3600000 }, { "d", 86400000 }, { "w", 604800000 } };

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strlen(units[i].name) == n && memcmp(units[i].name, unit, n) == 0)
            return units[i].ms;
    return 0;
}

/* A number and a unit of n bytes: their milliseconds. False if there is no such unit, or they are
 * too many. */
static bool when_times(uint64_t number, const char *unit, size_t n, uint64_t *out_ms)
{
    uint64_t ms = when_unit(unit, n);

    if (ms == 0 || number > WHEN_MS_MAX / ms)
        return false;
    *out_ms = number * ms;
    return true;
}

static bool when_parse_ago(const char *text, struct when *out)
{
    const char *at = text;
    uint64_t number;
    size_t len;

    if (!when_digits(&at, 1, 20, &number))
        return false;
    at += strspn(at, " ");
    len = strcspn(at, " ");
    out->kind = WHEN_AGO;
    return strcmp(at + len, " ago") == 0 && when_times(number, at, len, &out->ms);
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

/* The two numbers of an ID; what is missing is 0. */
static void when_split(const char *id, uint64_t *ms, uint64_t *seq)
{
    *ms = *seq = 0;
    if (when_digits(&id, 1, 20, ms) && when_literal(&id, '-'))
        when_digits(&id, 1, 20, seq);
}

int when_compare(const char *a, const char *b)
{
    uint64_t a_ms, a_seq, b_ms, b_seq;

    when_split(a, &a_ms, &a_seq);
    when_split(b, &b_ms, &b_seq);
    if (a_ms != b_ms)
        return a_ms < b_ms ? -1 : 1;
    return (a_seq > b_seq) - (a_seq < b_seq);
}

void when_put_before(const char *id, char *out)
{
    uint64_t ms, seq;

    when_split(id + (*id == '('), &ms, &seq);
    if (*id != '(' && seq > 0) {
        seq--;
    } else if (*id != '(' && ms > 0) {
        ms--;
        seq = UINT64_MAX;
    }
    snprintf(out, WHEN_ID_MAX, "%" PRIu64 "-%" PRIu64, ms, seq);
}

bool when_parse_duration(const char *text, uint64_t *out_ms)
{
    const char *at = text;
    uint64_t number;

    if (strcmp(text, "0") == 0) {
        *out_ms = 0;
        return true;
    }
    return when_digits(&at, 1, 20, &number) && when_times(number, at, strlen(at), out_ms);
}

void when_put_duration(uint64_t ms, char *out)
{
    static const char *const units[] = { "d", "h", "m", "s", "ms" };
    size_t i = 0;

    while (ms % when_unit(units[i], strlen(units[i])) != 0)
        i++;
    if (ms == 0)
        snprintf(out, WHEN_DURATION_MAX, "0");
    else
        snprintf(out, WHEN_DURATION_MAX, "%" PRIu64 "%s",
                 ms / when_unit(units[i], strlen(units[i])), units[i]);
}
