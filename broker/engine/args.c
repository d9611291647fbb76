/*
 * args.c - reading the arguments of a command. Arguments come from outside: nothing here believes
 * anything about them.
 */
#include "broker/engine/args.h"
#include <stdlib.h>
#include "log/id.h"

/* The digits of a positive number without a leading zero. */
static bool args_digits(struct slice text, uint64_t *out)
{
    if (text.n == 0 || text.n > 20 || (text.p[0] == '0' && text.n > 1))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint64_t digit = (uint64_t)text.p[i] - '0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

bool args_i64(struct slice text, int64_t *out)
{
    bool negative = text.n > 0 && text.p[0] == '-';
    uint64_t v;

    if (!negative) {
        if (!args_digits(text, &v) || v > INT64_MAX)
            return false;
        *out = (int64_t)v;
        return true;
    }
    if (!args_digits(slice_of(text.p + 1, text.n - 1), &v) || v == 0 || v > (uint64_t)INT64_MAX + 1)
        return false;
    *out = (int64_t)(0 - v);
    return true;
}

bool args_i64_in(struct slice text, int64_t min, int64_t max, int64_t *out)
{
    int64_t v;

    if (!args_i64(text, &v) || v < min || v > max)
        return false;
    *out = v;
    return true;
}

bool args_cursor(struct slice text, uint64_t *out)
{
    bool negative = text.n > 0 && text.p[0] == '-';
    size_t sign = negative || (text.n > 0 && text.p[0] == '+');
    uint64_t v = 0;

    if (text.n > 0 && !id_parse_u64(slice_of(text.p + sign, text.n - sign), &v))
        return false;
    *out = negative ? 0 - v : v;
    return true;
}

bool args_word(struct slice arg, const char *word)
{
    if (arg.n != strlen(word))
        return false;
    for (size_t i = 0; i < arg.n; i++) {
        uint8_t b = arg.p[i];
        if (b >= 'A' && b <= 'Z')
            b = (uint8_t)(b + 'a' - 'A');
        if (b != (uint8_t)word[i])
            return false;
    }
    return true;
}

bool args_printable(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '!' || text.p[i] > '~')
            return false;
    return true;
}

char *args_copy(struct slice text)
{
    char *copy = malloc(text.n + 1);

    if (copy == NULL)
        return NULL;
    if (text.n > 0)
        memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    return copy;
}

bool args_bytes(struct slice text, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = { { "", 1 },        { "b", 1 },        { "k", 1000 },       { "kb", 1 << 10 },
                  { "m", 1000000 }, { "mb", 1 << 20 }, { "g", 1000000000 }, { "gb", 1 << 30 } };
    size_t digits = 0;
    uint64_t v;

    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    if (digits == 0 || !id_parse_u64(slice_of(text.p, digits), &v))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (args_word(slice_of(text.p + digits, text.n - digits), units[i].name))
            return !__builtin_mul_overflow(v, units[i].factor, out);
    return false;
}

struct slice *args_copy_all(const struct slice *argv, size_t argc)
{
    size_t bytes = 0;
    struct slice *copy;
    uint8_t *p;

    for (size_t i = 0; i < argc; i++)
        bytes += argv[i].n;
    copy = malloc(argc * sizeof *copy + bytes);
    if (copy == NULL)
        return NULL;
    p = (uint8_t *)(copy + argc);
    for (size_t i = 0; i < argc; i++) {
        copy[i] = slice_of(p, argv[i].n);
        if (argv[i].n > 0)
            memcpy(p, argv[i].p, argv[i].n);
        p += argv[i].n;
    }
    return copy;
}
