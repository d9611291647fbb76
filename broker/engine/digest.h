/* digest.h - BECK DIGEST: a 128-bit hash of the whole logical state, with the LSN that it stands for.
 *
 * It is the sum modulo 2^128 of a hash of every object, so the order in which objects are met does
 * not matter: two stores with the same digest say the same to every reader. Between versions of Beck it may differ. The essay of digest.c tells
 * what is hashed, and how a version is pinned while commands go on. */
#ifndef BROKER_ENGINE_DIGEST_H
#define BROKER_ENGINE_DIGEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"

struct client;
struct dict;
struct digest;
struct engine;
struct object;
struct state;

/* BECK DIGEST [SYNC]: replies with an array of the LSN and the hash as 32 hexadecimal digits. With `sync`, and
 * inside EXEC, at once; else `c` waits while the hash is made in slices. */
void digest_command(struct engine *e, struct client *c, bool sync);

/* Does a slice of the work, about `budget` entries; true if there is more to do. Called at the end of rounds. */
bool digest_step(struct engine *e, size_t budget);

/* What state.c tells before it changes or drops an object while a digest is made of what was. Flushing is no change:
 * state_reap frees nothing meanwhile. */
enum digest_change {
    DIGEST_HEADER, /* an entry with a larger ID than all comes, or anything changes but the entries */
    DIGEST_REMOVE, /* entries go, or lose their addresses */
    DIGEST_VALUE,  /* a value is about to change, or to go */
};
void digest_before(struct digest *d, struct object *o, enum digest_change change);

/* A new object, which the version that is pinned does not have. */
void digest_skip(struct digest *d, struct object *o);

/* An object has another oid from now on: the scan may not come to it. */
void digest_found(struct digest *d, struct object *o);

/* All names of a database are elsewhere from now on: it was flushed. */
void digest_moved(struct digest *d, const struct dict *from, struct dict *to);

void digest_free(struct digest *d); /* NULL is fine; what workers still do for it ends soon */

#endif
