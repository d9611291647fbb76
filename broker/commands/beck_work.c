/*
 * beck_work.c - BECK SEAL, MERGE, CHECK, BACKUP: work that may take minutes, done by the log's workers while the client
 * waits and everybody else goes on.
 *
 * The client waits like a reader that blocks, for a key of the empty name, as for BECK DIGEST; a false wake-up costs
 * nothing. A client that goes away stops waiting, not the work.
 *
 *   beck_wait ---> log_seal, ... ---> done (in log_turn) ---> the key is ready ---> serve: the reply
 *       |                               |
 *       '---- release: the client ------'---- if it is gone: freed here
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "broker/commands/beck.h"
#include "broker/engine/args.h"
#include "broker/engine/blocking.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"

enum { BECK_PLACES_MAX = 100, BECK_PATH_MAX = 4096 };

/* ---- waiting ---- */

static bool beck_serve(struct engine *e, struct client *c, void *ctx)
{
    struct beck_request *r = ctx;

    (void)e;
    if (r->done)
        r->reply(c, r);
    return r->done;
}

static void beck_release(void *ctx)
{
    struct beck_request *r = ctx;

    r->client = NULL;
    if (r->done)
        r->free(r);
}

/* The log's: in log_turn, or in log_close when the engine is gone, and its clients before it. */
static void beck_done(struct log_request *request, int rc, const struct err *e)
{
    struct beck_request *r = (struct beck_request *)(void *)request; /* its first member */

    r->done = true;
    r->rc = rc;
    if (rc != OK)
        r->err = *e;
    if (r->client == NULL)
        r->free(r);
    else
        blocking_ready(r->engine->blocking, r->db, slice_of("", 0));
}

bool beck_wait(struct engine *e, struct client *c, struct beck_request *r)
{
    struct slice key = slice_of("", 0);
    struct blocking_wait wait = { .keys = &key,
                                  .n_keys = 1,
                                  .deadline_ms = UINT64_MAX,
                                  .serve = beck_serve,
                                  .release = beck_release,
                                  .ctx = r };

    r->request.done = beck_done;
    r->engine = e;
    r->client = c;
    r->db = c->db;
    if (blocking_block(e->blocking, c, &wait, NULL) == OK)
        return true;
    r->free(r);
    reply_error(c, "OOM not enough memory to wait");
    return false;
}

/* ---- replies ---- */

static void beck_free(struct beck_request *r)
{
    free(r);
}

static void beck_reply_error(struct client *c, const struct beck_request *r)
{
    const char *code = r->rc == ERR_FULL    ? "DISKFULL"
                       : r->rc == ERR_IO    ? "IOERR"
                       : r->rc == ERR_NOMEM ? "OOM"
                                            : "ERR";

    reply_error(c, "%s %s", code, r->err.text);
}

/* What was done, and up to where. */
static void beck_reply_work(struct client *c, struct beck_request *r)
{
    if (r->rc != OK) {
        beck_reply_error(c, r);
        return;
    }
    reply_map(c, 3);
    reply_str(c, "lsn");
    reply_u64(c, r->request.lsn);
    reply_str(c, "files");
    reply_u64(c, r->request.n_files);
    reply_str(c, "bytes");
    reply_u64(c, r->request.bytes);
}

/* A request that is replied to by its figures; NULL after an error reply. */
static struct beck_request *beck_begin(struct engine *e, struct client *c)
{
    struct beck_request *r = calloc(1, sizeof *r);

    if (r == NULL) {
        reply_error(c, "OOM not enough memory to wait");
        return NULL;
    }
    r->reply = beck_reply_work;
    r->free = beck_free;
    return beck_wait(e, c, r) ? r : NULL;
}

/* ---- SEAL, MERGE ---- */

void beck_seal(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct beck_request *r = beck_begin(e, c);

    (void)argv;
    (void)argc;
    if (r != NULL)
        log_seal(e->log, &r->request);
}

void beck_merge(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct beck_request *r = beck_begin(e, c);

    (void)argv;
    (void)argc;
    if (r != NULL)
        log_merge(e->log, &r->request);
}

/* ---- CHECK ---- */

struct beck_place {
    char *path, *what;
    uint64_t pos;
};

struct beck_checking {
    struct beck_request r; /* must be first */
    size_t n;
    struct beck_place places[BECK_PLACES_MAX];
    bool failed; /* memory ran out */
};

static struct beck_checking *beck_checking_of(struct beck_request *r)
{
    return (struct beck_checking *)(void *)r; /* its first member */
}

static void beck_found(struct log_request *request, const char *path, uint64_t pos,
                       const char *what)
{
    struct beck_checking *x = (struct beck_checking *)(void *)request;
    struct beck_place *place;

    if (x->n == BECK_PLACES_MAX)
        return;
    place = &x->places[x->n++];
    place->path = strdup(path);
    place->what = strdup(what);
    place->pos = pos;
    x->failed |= place->path == NULL || place->what == NULL;
}

static void beck_check_free(struct beck_request *r)
{
    struct beck_checking *x = beck_checking_of(r);

    for (size_t i = 0; i < x->n; i++) {
        free(x->places[i].path);
        free(x->places[i].what);
    }
    free(x);
}

static void beck_check_reply(struct client *c, struct beck_request *r)
{
    const struct beck_checking *x = beck_checking_of(r);

    if (r->rc != OK && (r->rc != ERR_CORRUPT || x->n == 0)) {
        beck_reply_error(c, r);
        return;
    }
    if (x->failed) {
        reply_error(c, "OOM not enough memory to name what is damaged");
        return;
    }
    reply_array(c, x->n);
    for (size_t i = 0; i < x->n; i++) {
        reply_map(c, 3);
        reply_str(c, "file");
        reply_str(c, x->places[i].path);
        reply_str(c, "offset");
        reply_u64(c, x->places[i].pos);
        reply_str(c, "what");
        reply_str(c, x->places[i].what);
    }
}

void beck_check(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct beck_checking *x = calloc(1, sizeof *x);

    (void)argv;
    (void)argc;
    if (x == NULL) {
        reply_error(c, "OOM not enough memory for a check");
        return;
    }
    x->r.reply = beck_check_reply;
    x->r.free = beck_check_free;
    x->r.request.found = beck_found;
    if (beck_wait(e, c, &x->r))
        log_check(e->log, &x->r.request);
}

/* ---- BACKUP ---- */

/* Whether a component of the path is "..". */
static bool beck_goes_up(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")) != NULL; p += 2)
        if ((p == path || p[-1] == '/') && (p[2] == '\0' || p[2] == '/'))
            return true;
    return false;
}

/* Whether the path lies in the store, going by the names alone. */
static bool beck_is_in_store(const struct engine *e, const char *path)
{
    char store[2 * BECK_PATH_MAX], here[BECK_PATH_MAX];
    const char *dir = e->config->dir;
    size_t n;

    while (strncmp(dir, "./", 2) == 0)
        dir += 2;
    if (dir[0] == '/')
        snprintf(store, sizeof store, "%s", dir);
    else if (getcwd(here, sizeof here) != NULL)
        snprintf(store, sizeof store, "%s/%s", here, dir);
    else
        return false;
    n = strlen(store);
    while (n > 1 && store[n - 1] == '/')
        n--;
    return strncmp(path, store, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* The directory for a backup, to be freed; NULL after an error reply. */
static char *beck_backup_dir(struct engine *e, struct client *c, struct slice arg)
{
    char *path;

    if (arg.n == 0 || arg.n >= BECK_PATH_MAX || memchr(arg.p, '\0', arg.n) != NULL ||
        arg.p[0] != '/') {
        reply_error(c, "ERR BECK BACKUP needs the absolute path of a directory that is new or "
                       "empty, on the server's machine");
        return NULL;
    }
    path = args_copy(arg);
    if (path == NULL) {
        reply_error(c, "OOM not enough memory for the path");
    } else if (beck_goes_up(path) || beck_is_in_store(e, path)) {
        reply_error(c, "ERR a backup must lie outside of the store, and its path have no '..'");
        free(path);
        path = NULL;
    }
    return path;
}

void beck_backup(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    char *dir = beck_backup_dir(e, c, argv[2]);
    struct beck_request *r = dir == NULL ? NULL : beck_begin(e, c);

    (void)argc;
    if (r != NULL)
        log_backup(e->log, dir, &r->request);
    free(dir);
}
