/* rig.h - a whole server without sockets: the engine over a log on a simulated disk, and one client. Nothing happens in
 * the background but what a test asks for, and time passes when it says so.
 *
 * What goes wrong in a way that no test expects fails the running test at once. */
#ifndef TESTS_LIB_RIG_H
#define TESTS_LIB_RIG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/config.h"
#include "broker/engine/engine.h"
#include "broker/engine/redelivery.h"
#include "log/log.h"
#include "tests/lib/simio.h"

enum { RIG_TEXT = 1 << 20 };

struct rig {
    struct simio *disk;
    struct config config;
    struct engine e;
    struct log *log;
    struct log_recovery info;
    struct client c;
    bool running;
    bool lazy;             /* rig_say and rig_pass leave the log's work alone */
    unsigned n_complaints; /* lines for the operator since it was made */
    char complaint[256];   /* the last one */
    char text[RIG_TEXT];
};

/* A disk of its own and the default configuration but for small parts of the arena; nothing runs yet. */
struct rig *rig_new(uint64_t seed);
void rig_free(struct rig *r);
struct rig *rig_begin(void); /* a new one that is started */

void rig_start(struct rig *r);
void rig_stop(struct rig *r);                       /* in good order */
void rig_kill(struct rig *r, enum simio_mode mode); /* at this moment */
void rig_restart(struct rig *r, bool killed);       /* and settles */

/* Executes a command of words ("" is an empty one) in a round of its own, then lets all that follows happen until the reply is there, which is
 * valid until the next call. */
const char *rig_say(struct rig *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Other clients, which may wait while commands are executed: what `c` tells is executed in a round, then all that follows
 * happens; rig_hear gives what it has been sent since, "" if nothing. All leave before the server stops. */
void rig_join(struct rig *r, struct client *c);
void rig_leave(struct rig *r, struct client *c);
void rig_tell(struct rig *r, struct client *c, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *rig_hear(struct rig *r, struct client *c);

void rig_round(struct rig *r);             /* one round without a command */
void rig_settle(struct rig *r);            /* until nothing is left to do at this moment */
void rig_pass(struct rig *r, uint64_t ms); /* moves the clocks, then settles */

/* What is said and heard, as tests claim it. */
#define says(r, want, ...) assert_string_equal(rig_say(r, __VA_ARGS__), want)
#define has(r, part, ...)  assert_non_null(strstr(rig_say(r, __VA_ARGS__), part))
#define hears(r, c, want)  assert_string_equal(rig_hear(r, c), want)
#define OKAY               "+OK\r\n"
#define NOTHING            "*-1\r\n"

/* The number of a key's entries, of those that are pending in a group of it, or what BECK LOG tells. */
uint64_t rig_len(struct rig *r, const char *key);
uint64_t rig_pending(struct rig *r, const char *key, const char *group);
uint64_t rig_figure(struct rig *r, const char *name);

/* BECK SEAL, and all that is left to do for it. */
void rig_seal(struct rig *r);
/* Appends n entries 1-1, 2-1, ..., whose field f has the values v1, v2, ... */
void rig_add(struct rig *r, const char *key, unsigned n);
/* A server with such a stream "s" and a group "g" with these options ("": none) at its beginning; with one whose consumer "c" has
 * read all of it. */
struct rig *rig_grouped(unsigned n, const char *options);
struct rig *rig_delivered(unsigned n, const char *options);

/* Of database 0; NULL if it is not there. */
struct stream *rig_stream(struct rig *r, const char *key);
struct group *rig_group(struct rig *r, const char *key, const char *name);

/* What groups have done by themselves, after looking for invariants that are broken. */
struct redelivery_stats rig_redelivery(struct rig *r);

#endif
