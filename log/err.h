/* err.h - one way to fail: a code, the errno behind it and a text that says where and what.
 *
 * A function that can fail is must_check and returns OK or one of the codes. The struct err is the
 * caller's; it is filled where the failure happened, and each caller may put its place in front. */
#ifndef LOG_ERR_H
#define LOG_ERR_H

#define must_check __attribute__((warn_unused_result))

/* One list makes both the enum and the texts. A number is never changed or reused. */
#define ERR_LIST(X)                                       \
    X(ERR_NOMEM, 1, "out of memory")                      \
    X(ERR_IO, 2, "reading or writing failed")             \
    X(ERR_CORRUPT, 3, "stored data is damaged")           \
    X(ERR_FULL, 4, "no room left")                        \
    X(ERR_TOO_BIG, 5, "larger than the limit")            \
    X(ERR_PROTO, 6, "the peer broke the protocol")        \
    X(ERR_LOCKED, 7, "in use by another process")         \
    X(ERR_FORMAT, 8, "not a store, or of another format") \
    X(ERR_USAGE, 9, "wrong argument")                     \
    X(ERR_COLD, 10, "not in memory: it has to be read first")

enum err_code {
    OK = 0,
#define ERR_ENUM(name, number, text) name = number,
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
};

struct err {
    int code;       /* OK, or one of ERR_LIST */
    int sys;        /* errno as it was at the failure, or 0 */
    char text[320]; /* "recover orders: read 0007.seg at byte 4096: Input/output error" */
};

/* Fills `e` (which may be NULL) and returns `code`, so that failing is one statement. */
int err_set(struct err *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same right after a failed system call: keeps errno and appends its text. */
int err_sys(struct err *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "place: " in front of the text; returns e's code, so `return err_add(e, "recover %s",
 * name)`. `e` is never NULL here. */
int err_add(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The fixed text of a code. */
const char *err_text(int code);

/* Ignores a must_check result on purpose; the reason stands beside the call. */
static inline void err_ignore(int rc)
{
    (void)rc;
}

#endif
