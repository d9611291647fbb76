/* fail.h - the client's errors: a code, whether trying again makes sense, and one line of text. */
#ifndef CLIENT_FAIL_H
#define CLIENT_FAIL_H
#include "client/beck.h"

struct fail {
    int code;
    bool retriable;
    char text[512];
};

/* Fills `f` (which may be NULL) and returns `code`, so that failing is one statement. */
int fail_set(struct fail *f, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same right after a failed system call: appends errno's text. */
int fail_sys(struct fail *f, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* An error reply of the server: BECK_ERR_AUTH if it is about the login, else BECK_ERR_SERVER. */
int fail_server(struct fail *f, struct beck_slice text);

#endif
