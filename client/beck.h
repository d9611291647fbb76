/* beck.h - talk to a Beck server (or any server that speaks RESP2 or RESP3) from C.
 *
 * This is the one header of libbeck (pkg-config: beck; soname libbeck.so.1, symbols in
 * client/libbeck.map). The library prints nothing, keeps no global state, installs no signal
 * handler and starts no thread. No call blocks longer than the timeout of its client. Everything in
 * this header came with version 0.1.
 *
 *     struct beck_conf *conf;
 *     struct beck_client *c;
 *     const struct beck_reply *reply;
 *     struct beck_slice ping[] = { beck_str("PING") };
 *
 *     if (beck_conf_new(&conf) != BECK_OK || beck_client_new(conf, &c) != BECK_OK)
 *         return ...;
 *     if (beck_client_connect(c) != BECK_OK || beck_client_call(c, ping, 1, &reply) != BECK_OK)
 *         fprintf(stderr, "%s\n", beck_last_error(c));
 *     beck_client_free(c);
 *     beck_conf_free(conf);
 *
 * Threads: an object belongs to one thread at a time; different objects are independent. After fork
 * only one of the two processes may go on using a connected client, the other may only free it. */
#ifndef BECK_H
#define BECK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BECK_API        __attribute__((visibility("default")))
#define BECK_MUST_CHECK __attribute__((warn_unused_result))

#define BECK_VERSION "0.1.0"

/* ---- Errors ---------------------------------------------------------------------------
 *
 * Every call that can fail returns BECK_OK or one of these. A number is never changed or reused.
 * After a lost connection or a timeout it is unknown whether the commands without a reply took
 * effect. */
#define BECK_ERR_LIST(X)                                                \
    X(BECK_ERR_NOMEM, 1, "out of memory")                               \
    X(BECK_ERR_USAGE, 2, "wrong argument, or calls in the wrong order") \
    X(BECK_ERR_CONNECT, 3, "cannot connect to the server")              \
    X(BECK_ERR_AUTH, 4, "the server wants another login")               \
    X(BECK_ERR_IO, 5, "reading from or writing to the server failed")   \
    X(BECK_ERR_CLOSED, 6, "the server closed the connection")           \
    X(BECK_ERR_TIMEOUT, 7, "the server did not answer in time")         \
    X(BECK_ERR_INTERRUPTED, 8, "interrupted by the wake-up descriptor") \
    X(BECK_ERR_PROTO, 9, "the server sent something that is no reply")  \
    X(BECK_ERR_TOO_BIG, 10, "larger than the limit")                    \
    X(BECK_ERR_SERVER, 11, "the server refused the command")            \
    X(BECK_ERR_AGAIN, 12, "no reply has come yet")

enum beck_error_code {
    BECK_OK = 0,
#define BECK_ERR_ENUM(name, number, text) name = number,
    BECK_ERR_LIST(BECK_ERR_ENUM)
#undef BECK_ERR_ENUM
};

/* The fixed text of a code; "unknown error" for any other number. */
BECK_API const char *beck_strerror(int code);

/* The library's version at run time, "0.1.0"; BECK_VERSION is that of the header. */
BECK_API const char *beck_version(void);

/* ---- Slices ---------------------------------------------------------------------------
 *
 * Bytes that belong to somebody else: arguments may hold any bytes, zeros included. */
struct beck_slice {
    const char *p;
    size_t n;
};

static inline struct beck_slice beck_bytes(const void *p, size_t n)
{
    struct beck_slice s;
    s.p = (const char *)p;
    s.n = n;
    return s;
}

static inline struct beck_slice beck_str(const char *text)
{
    return beck_bytes(text, strlen(text));
}

/* ---- Settings -------------------------------------------------------------------------
 *
 *     beck_conf_set_url(conf, "unix:///run/beck.sock?db=2");
 *     beck_conf_set(conf, "timeout-ms", "5000");
 */
struct beck_conf;

/* Makes settings with the defaults: 127.0.0.1, port 7878, database 0, no login, RESP3.
 * Errors: BECK_ERR_NOMEM. The caller releases *out with beck_conf_free. */
BECK_MUST_CHECK BECK_API int beck_conf_new(struct beck_conf **out);
BECK_API void beck_conf_free(struct beck_conf *conf); /* NULL is fine */

/* Sets one value by its name; `value` is copied.
 *
 *   host                name or IPv4 or IPv6 address         port      1..65535
 *   path                a Unix socket; replaces host and port, as host replaces path
 *   user, password      the login; without a user the server's default user
 *   db                  0..2147483647                        proto     2 or 3
 *   name                of the connection, as CLIENT LIST shows it; without blanks
 *   connect-timeout-ms  0..86400000, 0 waits forever         (5000)
 *   timeout-ms          the same for every other call        (30000)
 *   max-reply-bytes     1024..2^40: a larger reply is BECK_ERR_TOO_BIG (1 GiB)
 *   max-reply-elements  16..2^30: strings, numbers and arrays in one reply (16,777,216)
 *
 * Errors: BECK_ERR_USAGE (unknown name or bad value; beck_conf_last_error tells), BECK_ERR_NOMEM;
 * then nothing has changed. */
BECK_MUST_CHECK BECK_API int beck_conf_set(struct beck_conf *conf, const char *name,
                                           const char *value);

/* Sets what the URL names; parts of it that are missing keep what they are. %XX stands for a byte
 * in user, password and path; an IPv6 address stands in brackets.
 *
 *   beck://[user:password@]host[:port][/db]   redis:// is the same
 *   unix://path[?db=n]
 *
 * Errors: as beck_conf_set; nothing has changed then. */
BECK_MUST_CHECK BECK_API int beck_conf_set_url(struct beck_conf *conf, const char *url);

/* What was wrong in the last failing call on `conf`; never contains the password. Borrowed until
 * the next call on it. */
BECK_API const char *beck_conf_last_error(const struct beck_conf *conf);

/* ---- Replies --------------------------------------------------------------------------
 *
 *     for (size_t i = 0, n = beck_reply_count(r); i < n; i++, item = beck_reply_next(item))
 *
 * A reply is a tree in one block of memory, read-only and valid until the next beck_client_receive,
 * beck_client_poll, beck_client_call, beck_client_connect or beck_client_free of its client. */
enum beck_reply_type {
    BECK_REPLY_NIL,
    BECK_REPLY_STATUS, /* a short text such as OK */
    BECK_REPLY_ERROR,  /* "WRONGTYPE Operation against ..." */
    BECK_REPLY_STRING, /* any bytes */
    BECK_REPLY_INTEGER,
    BECK_REPLY_DOUBLE,   /* as its text: "3.5", "inf", "nan" */
    BECK_REPLY_BIGNUM,   /* as its text */
    BECK_REPLY_BOOL,     /* integer 0 or 1 */
    BECK_REPLY_VERBATIM, /* a text; its three-letter format is cut off */
    BECK_REPLY_ARRAY,
    BECK_REPLY_SET,
    BECK_REPLY_MAP,  /* its elements are key, value, key, value, ... */
    BECK_REPLY_PUSH, /* out of band */
};

struct beck_reply;

BECK_API enum beck_reply_type beck_reply_type(const struct beck_reply *r);

/* The bytes of a text-like reply (STATUS, ERROR, STRING, DOUBLE, BIGNUM, VERBATIM), with a zero
 * behind them; an empty text for the others. */
BECK_API struct beck_slice beck_reply_string(const struct beck_reply *r);

/* The value of INTEGER and BOOL; 0 for the others. */
BECK_API int64_t beck_reply_integer(const struct beck_reply *r);

/* How many elements an ARRAY, SET, MAP or PUSH has (a map two for each pair); 0 for the others. */
BECK_API size_t beck_reply_count(const struct beck_reply *r);

/* Element i, in time that grows with i; NULL if there is none. */
BECK_API const struct beck_reply *beck_reply_at(const struct beck_reply *r, size_t i);

/* The first element, NULL if there is none; and what follows an element in its aggregate, which the
 * caller knows to exist (by counting). Constant time. */
BECK_API const struct beck_reply *beck_reply_first(const struct beck_reply *r);
BECK_API const struct beck_reply *beck_reply_next(const struct beck_reply *element);

/* The value of `key` in a MAP, or in an ARRAY of keys and values as RESP2 sends it; NULL if it is
 * not there. */
BECK_API const struct beck_reply *beck_reply_get(const struct beck_reply *r, const char *key);

/* ---- Connections ----------------------------------------------------------------------
 *
 *     beck_client_append(c, args, n);            many commands on their way at once:
 *     beck_client_append(c, args2, n2);          append them all, send them, then receive as many
 *     beck_client_flush(c);                      replies, in the same order
 *     beck_client_receive(c, &reply); ...
 */
struct beck_client;

/* Makes a client with a copy of the settings, not yet connected. Errors: BECK_ERR_NOMEM. */
BECK_MUST_CHECK BECK_API int beck_client_new(const struct beck_conf *conf,
                                             struct beck_client **out);

/* Closes the connection at once and releases everything. NULL is fine. */
BECK_API void beck_client_free(struct beck_client *c);

/* Connects, logs in and selects the database; a connection that is open is closed before. Blocks at
 * most connect-timeout-ms in all; only the system's name resolution, which numeric addresses do not
 * need, has time-outs of its own. Errors: BECK_ERR_CONNECT, BECK_ERR_AUTH, BECK_ERR_TIMEOUT,
 * BECK_ERR_INTERRUPTED, BECK_ERR_SERVER (the database), BECK_ERR_PROTO, BECK_ERR_NOMEM. */
BECK_MUST_CHECK BECK_API int beck_client_connect(struct beck_client *c);

/* Sends one command of n >= 1 arguments and waits for its reply. Errors: BECK_ERR_SERVER and
 * BECK_ERR_AUTH (*out is the error reply then), BECK_ERR_USAGE (not connected, or other replies are
 * outstanding), and those of beck_client_receive. */
BECK_MUST_CHECK BECK_API int beck_client_call(struct beck_client *c, const struct beck_slice *args,
                                              size_t n, const struct beck_reply **out);

/* Adds a command to what the next flush sends; the arguments are copied. Never blocks.
 * Errors: BECK_ERR_USAGE (not connected, n is 0), BECK_ERR_NOMEM; nothing was added then. */
BECK_MUST_CHECK BECK_API int beck_client_append(struct beck_client *c,
                                                const struct beck_slice *args, size_t n);

/* Sends everything appended. While the server does not take it, replies are read into memory, so
 * that neither side waits for the other. Replies given out before stay valid. Errors:
 * BECK_ERR_TIMEOUT and BECK_ERR_INTERRUPTED (call again to go on), BECK_ERR_IO, BECK_ERR_CLOSED
 * (replies that came before can still be received), BECK_ERR_TOO_BIG, BECK_ERR_NOMEM. */
BECK_MUST_CHECK BECK_API int beck_client_flush(struct beck_client *c);

/* Waits for the next reply, in the order of the commands; sends what is appended first. Push frames
 * are skipped. Errors: BECK_ERR_SERVER and BECK_ERR_AUTH (an error reply: *out is set, the
 * connection goes on), BECK_ERR_USAGE (nothing is outstanding), BECK_ERR_TIMEOUT and
 * BECK_ERR_INTERRUPTED (the reply may still come: call again), BECK_ERR_CLOSED, BECK_ERR_IO,
 * BECK_ERR_PROTO, BECK_ERR_TOO_BIG, BECK_ERR_NOMEM (the connection is of no use any more). */
BECK_MUST_CHECK BECK_API int beck_client_receive(struct beck_client *c,
                                                 const struct beck_reply **out);

/* The same without waiting: BECK_ERR_AGAIN if the next reply is not here yet. Sends nothing. */
BECK_MUST_CHECK BECK_API int beck_client_poll(struct beck_client *c, const struct beck_reply **out);

/* Commands appended whose replies have not been received. */
BECK_API size_t beck_client_pending(const struct beck_client *c);

/* Bytes appended and not yet given to the system. */
BECK_API size_t beck_client_unsent(const struct beck_client *c);

/* How long each later call may block; 0 is forever. */
BECK_API void beck_client_set_timeout(struct beck_client *c, uint64_t timeout_ms);

/* A descriptor that ends waiting: when it is readable, blocking calls return BECK_ERR_INTERRUPTED.
 * The library never reads it; -1 takes it away. Made for signalfd(2), eventfd(2) or a pipe. */
BECK_API void beck_client_set_wakeup(struct beck_client *c, int fd);

/* The socket, for poll(2) beside others; -1 if not connected. */
BECK_API int beck_client_fd(const struct beck_client *c);

/* Where it is or would be connected: "127.0.0.1:7878", "[::1]:7878", "unix:/run/beck.sock".
 * Borrowed for the client's life. */
BECK_API const char *beck_client_address(const struct beck_client *c);

/* The protocol that was agreed on, 2 or 3. */
BECK_API int beck_client_proto(const struct beck_client *c);

/* What went wrong in the last failing call: one line, with the address or the server's words.
 * Borrowed until the next call. */
BECK_API const char *beck_last_error(const struct beck_client *c);

/* Whether the same request may succeed later (after a reconnect, if the connection is gone). */
BECK_API bool beck_last_error_retriable(const struct beck_client *c);

#ifdef __cplusplus
}
#endif
#endif
