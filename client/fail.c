/*
 * fail.c - see fail.h. Texts that do not fit are cut, never overrun.
 *
 * What can be tried again is decided here alone. By code: what time or a new connection may heal.
 * For an error reply by its first word, since those are the words clients have always branched on.
 */
#include "client/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *beck_strerror(int code)
{
    switch (code) {
    case BECK_OK: return "no error";
#define FAIL_CASE(name, number, text) \
    case name: return text;
        BECK_ERR_LIST(FAIL_CASE)
#undef FAIL_CASE
    }
    return "unknown error";
}

const char *beck_version(void)
{
    return BECK_VERSION;
}

static bool fail_is_retriable(int code)
{
    return code == BECK_ERR_CONNECT || code == BECK_ERR_IO || code == BECK_ERR_CLOSED ||
           code == BECK_ERR_TIMEOUT || code == BECK_ERR_INTERRUPTED || code == BECK_ERR_AGAIN;
}

static void fail_format(struct fail *f, int code, const char *format, va_list args)
{
    f->code = code;
    f->retriable = fail_is_retriable(code);
    vsnprintf(f->text, sizeof f->text, format, args);
}

int fail_set(struct fail *f, int code, const char *format, ...)
{
    va_list args;

    if (f == NULL)
        return code;
    va_start(args, format);
    fail_format(f, code, format, args);
    va_end(args);
    return code;
}

int fail_sys(struct fail *f, int code, const char *format, ...)
{
    int sys = errno;
    size_t used;
    va_list args;

    if (f == NULL)
        return code;
    va_start(args, format);
    fail_format(f, code, format, args);
    va_end(args);
    used = strlen(f->text);
    snprintf(f->text + used, sizeof f->text - used, ": %s", strerror(sys));
    return code;
}

static bool fail_starts_with(struct beck_slice text, const char *const *words)
{
    for (; *words != NULL; words++) {
        size_t n = strlen(*words);
        if (text.n >= n && memcmp(text.p, *words, n) == 0 && (text.n == n || text.p[n] == ' '))
            return true;
    }
    return false;
}

int fail_server(struct fail *f, struct beck_slice text)
{
    static const char *const login[] = { "NOAUTH", "WRONGPASS", "NOPERM", NULL };
    static const char *const passing[] = { "LOADING",    "BUSY", "TRYAGAIN", "CLUSTERDOWN",
                                           "MASTERDOWN", "OOM",  "DISKFULL", NULL };
    int code = fail_starts_with(text, login) ? BECK_ERR_AUTH : BECK_ERR_SERVER;
    int shown = text.n > sizeof f->text ? (int)sizeof f->text : (int)text.n;

    fail_set(f, code, "%.*s", shown, text.p);
    f->retriable = fail_starts_with(text, passing);
    return code;
}
