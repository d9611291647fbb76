/* err.c - see err.h. Texts that do not fit are cut, never overrun. */
#include "log/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *format, ...)
{
    va_list args;

    if (e == NULL)
        return code;
    e->code = code;
    e->sys = 0;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return code;
}

int err_sys(struct err *e, int code, const char *format, ...)
{
    int sys = errno;
    size_t used;
    va_list args;

    if (e == NULL)
        return code;
    e->code = code;
    e->sys = sys;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, ": %s", strerror(sys));
    return code;
}

int err_add(struct err *e, const char *format, ...)
{
    char place[sizeof e->text];
    char text[sizeof e->text];
    va_list args;

    va_start(args, format);
    vsnprintf(place, sizeof place, format, args);
    va_end(args);
    memcpy(text, e->text, sizeof text);
    if (snprintf(e->text, sizeof e->text, "%s: %s", place, text) >= (int)sizeof e->text)
        e->text[sizeof e->text - 1] = '\0';
    return e->code;
}

const char *err_text(int code)
{
    switch (code) {
    case OK: return "no error";
#define ERR_CASE(name, number, text) \
    case name: return text;
        ERR_LIST(ERR_CASE)
#undef ERR_CASE
    }
    return "unknown error";
}
