/* xgroup_options.h - the options of consumer groups as words of a command: XGROUP CREATE, XGROUP CFGSET. */
#ifndef BROKER_COMMANDS_XGROUP_OPTIONS_H
#define BROKER_COMMANDS_XGROUP_OPTIONS_H
#include "broker/engine/engine.h"
#include "groups/group.h"

enum { XGROUP_DLQ_MAX = 1024 /* bytes of the name of a dead-letter stream */ };

static const uint64_t XGROUP_DURATION_MAX_MS = 1ull << 40; /* 34 years: sums of some cannot wrap */
static const uint64_t XGROUP_NUMBER_MAX = UINT32_MAX;      /* of deliveries, of pending entries */

struct xgroup_options {
    unsigned which;         /* bits 1 << enum group_option: named */
    struct group_options x; /* names and fields are borrowed from the arguments */
};

/* Reads the option at argv[*i], if it is one, and moves *i behind it. 0: it is another word; -1: an error has been replied. */
int xgroup_options_read(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                        struct xgroup_options *o);

/* Whether a group of the stream `key` can have them; `g` NULL: a new one. Takes out what would change nothing and must not be
 * touched, and draws what has to be drawn. False: an error has been replied. */
must_check bool xgroup_options_check(struct engine *e, struct client *c, struct slice key,
                                     const struct group *g, struct xgroup_options *o);

#endif
