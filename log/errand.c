/*
 * errand.c - what an operator asks for that goes through every file.
 *
 * First the log becomes durable up to the moment of the question; then the last manifest, the segments and the files of the
 * log are held, so that nothing of them is removed, and a worker does what was asked (check.c, backup.c) while the log
 * goes on. The watermark at the moment of holding is the end of a batch, not below what any held file reflects, and so the
 * moment that a backup shows.
 */
#include "log/errand.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "log/backup.h"
#include "log/check.h"
#include "log/keeping.h"
#include "log/writer.h"

struct errand {
    struct work work; /* first */
    struct errand *next;
    struct log_request *request;
    char *to; /* NULL: a check */
    uint64_t lsn;
    bool begun;
    struct keeper_hold hold;
    struct wal_file *files;
    struct check check;
    struct backup backup;
};

static int errand_run_check(struct work *w, struct err *e)
{
    return check_run(&((struct errand *)w)->check, e);
}

static int errand_run_backup(struct work *w, struct err *e)
{
    return backup_run(&((struct errand *)w)->backup, e);
}

static void errand_free(struct errand *x)
{
    check_fini(&x->check);
    free(x->files);
    free(x->to);
    free(x);
}

void errand_ask(struct keeper *k, uint64_t last_lsn, const char *to, struct log_request *r)
{
    struct errand *x = calloc(1, sizeof *x), **at = &k->errands;
    struct err e;

    if (x != NULL && to != NULL)
        x->to = strdup(to);
    if (x == NULL || (to != NULL && x->to == NULL)) {
        free(x);
        err_set(&e, ERR_NOMEM, "no memory to go through the files of the log");
        r->done(r, ERR_NOMEM, &e);
        return;
    }
    *r = (struct log_request){ .done = r->done, .found = r->found };
    x->request = r;
    x->lsn = last_lsn;
    while (*at != NULL)
        at = &(*at)->next;
    *at = x;
    k->more = true;
}

static void errand_start(struct keeper *k, struct errand *x, size_t n_files)
{
    uint64_t lsn = x->request->lsn;

    x->check = (struct check){ .io = k->o.io,
                               .dir = k->dir,
                               .uuid = k->uuid,
                               .manifest = &x->hold.manifest,
                               .view = x->hold.view,
                               .files = x->files,
                               .n_files = n_files,
                               .lsn = lsn,
                               .pool = k->pool };
    x->backup = (struct backup){ .io = k->o.io,
                                 .dir = k->dir,
                                 .uuid = k->uuid,
                                 .to = x->to,
                                 .manifest = &x->hold.manifest,
                                 .files = x->files,
                                 .n_files = n_files,
                                 .lsn = lsn,
                                 .pool = k->pool };
    work_start(k, &x->work, POOL_MERGE, x->to == NULL ? errand_run_check : errand_run_backup);
}

/* Holds what there is; then the work may begin. Errors: ERR_NOMEM. */
static int errand_hold(struct keeper *k, struct errand *x, struct err *e)
{
    size_t n_files;
    int rc = keeper_hold(k, &x->hold, e);

    if (rc != OK)
        return rc;
    x->request->lsn = writer_durable(k->writer); /* before the list, which so has its file */
    rc = writer_hold(k->writer, &x->files, &n_files, e);
    if (rc != OK) {
        keeper_unhold(k, &x->hold);
        return rc;
    }
    x->begun = true;
    errand_start(k, x, n_files);
    return OK;
}

/* Tells, and forgets it. */
static void errand_answer(struct errand *x, int rc, const struct err *e)
{
    struct log_request *r = x->request;

    if (x->to != NULL) {
        r->n_files = x->backup.n_files_made;
        r->bytes = x->backup.bytes;
    } else {
        r->n_files = x->check.n_files_read;
        r->bytes = x->check.bytes;
    }
    for (size_t i = 0; r->found != NULL && i < x->check.n_places; i++)
        r->found(r, x->check.places[i].path, x->check.places[i].pos, x->check.places[i].what);
    r->done(r, rc, e);
    errand_free(x);
}

static void errand_release(struct keeper *k, struct errand *x)
{
    writer_unhold(k->writer);
    keeper_unhold(k, &x->hold);
}

void errand_turn(struct keeper *k)
{
    struct errand **at = &k->errands;

    while (*at != NULL) {
        struct errand *x = *at;
        struct err e = { 0 };
        int rc = OK;

        if (!x->begun)
            rc = keeping_failure(k, &e);
        if (rc == OK && !x->begun && keeping_is_durable(k, x->lsn))
            rc = errand_hold(k, x, &e);
        if (rc == OK && (!x->begun || x->work.running)) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        if (rc == OK) {
            errand_release(k, x);
            rc = x->work.rc;
            e = x->work.err;
        }
        errand_answer(x, rc, &e);
    }
}

void errand_fini(struct keeper *k)
{
    struct err e;

    err_set(&e, ERR_IO, "the log is closed");
    while (k->errands != NULL) {
        struct errand *x = k->errands;
        k->errands = x->next;
        if (x->begun)
            errand_release(k, x);
        errand_answer(x, ERR_IO, &e);
    }
}
