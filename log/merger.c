/*
 * merger.c - few files for each stream, and space back for what is gone.
 *
 * Three reasons to rewrite segments, in this order:
 *
 *   asked    BECK MERGE: all of them, into as few as MERGER_RAW_MAX allows, compressed for size.
 *   garbage  The host tells about how much of what is sealed is not wanted any more. When that is worth a look, each
 *            segment is surveyed, which reads only lists; one that is half dead is rewritten by itself. Where
 *            nothing lives in it, no file comes of it. What was garbage at a start is looked for a minute later.
 *   tiers    MERGER_FAN adjoining segments of a level become one of the next, so there are at most MERGER_FAN - 1 of a
 *            level, and a byte is rewritten once a level. If the streams' runs are long already, that would gain nothing
 *            for those who read them: then it waits until MERGER_FILES of a level are there.
 *
 * A merge goes the way of a seal (sealer.c): built, durable up to what it reflects, published, named, installed. The
 * same manifest that names the new segment lists its inputs as obsolete; the clerk removes them then. Readers
 * keep the segments of their view, whose files stay open.
 *
 * What a merge left out because it was deleted lies nowhere any more once the new segment is installed, and the streams may
 * forget it: that, and not what was deleted meanwhile, which the new segment still has.
 *
 * An input that cannot be read is marked bad (segment.c), counted, and left as it is from then on; what adjoins it is
 * merged without it.
 */
#include "log/merger.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "log/blockcache.h"
#include "log/bug.h"
#include "log/file.h"
#include "log/io.h"
#include "log/keeping.h"

enum {
    MERGER_FAN = 8,
    MERGER_FILES = 64,           /* of a level whose runs are long */
    MERGER_LONG_RUN = 128 << 10, /* bytes */
    MERGER_TIERS = 32,           /* times tier_bytes: the largest segment that is made of several */
    MERGER_SURVEY_PART = 10,     /* garbage of 1 / so much of all is worth a survey */
    MERGER_FIRST_SURVEY_S = 60,
    MERGER_PAUSE_S = 10, /* after a failure */
    MERGER_URGENT = 256, /* segments */
};

static uint64_t merger_raw_max(const struct keeper *k)
{
    return MERGER_TIERS * k->o.tier_bytes;
}

/* A merge waits for a processor that nobody else wants (pool.c), but not for ever: with so many segments that readers
 * notice, or without space on the disk, it works among the builders, a step between two of their jobs. */
static void merger_work(struct keeper *k, int (*run)(struct work *w, struct err *e))
{
    bool urgent = k->view->n > MERGER_URGENT || atomic_load(&k->no_space);

    work_start(k, &k->merger.work, urgent ? POOL_BUILD : POOL_MERGE, run);
}

/* ---- on a worker ---- */

static int merger_survey(struct work *w, struct err *e)
{
    struct merger *m = (struct merger *)w;

    return survey_step(m->survey, &m->step, e);
}

static int merger_build(struct work *w, struct err *e)
{
    struct merger *m = (struct merger *)w;
    int rc = merge_step(m->merge, &m->step, e);

    if (rc != OK) { /* here, since it removes a file */
        merge_free(m->merge);
        m->merge = NULL;
    }
    return rc;
}

static void merger_unlink(struct keeper *k, uint64_t ordinal, bool unfinished)
{
    char path[CURSOR_PATH_MAX], name[SEGMENT_NAME_MAX];

    segment_name(ordinal, unfinished, name);
    file_path(path, k->dir, name);
    k->o.io->unlink(k->o.io, path); /* what stays is known at the next start as not named */
}

static int merger_publish(struct work *w, struct err *e)
{
    struct merger *m = (struct merger *)w;
    struct keeper *k = w->keeper;
    struct io *io = k->o.io;
    int rc = segment_publish(io, k->dir, m->info.ordinal, e);

    if (rc == OK)
        rc = segment_open(io, k->dir, k->uuid, m->info.ordinal, &m->info, &m->segment, e);
    if (rc != OK) {
        merger_unlink(k, m->info.ordinal, true);
        merger_unlink(k, m->info.ordinal, false);
    }
    for (size_t i = 0; BUG(BUG_UNLINK_BEFORE_MANIFEST) && rc == OK && i < m->n_inputs; i++)
        merger_unlink(k, segment_info(m->inputs[i])->ordinal, false);
    return rc;
}

/* ---- beginning and ending ---- */

static void merger_give_up(struct keeper *k)
{
    struct merger *m = &k->merger;

    merge_free(m->merge);
    survey_free(m->survey);
    m->merge = NULL;
    m->survey = NULL;
    segment_unref(m->segment);
    m->segment = NULL;
    for (size_t i = 0; i < m->n_inputs; i++)
        segment_unref(m->inputs[i]);
    free(m->inputs);
    m->inputs = NULL;
    m->n_inputs = 0;
    m->state = MERGER_IDLE;
    k->more = true;
}

static bool merger_has_bad_input(const struct merger *m)
{
    for (size_t i = 0; i < m->n_inputs; i++)
        if (segment_is_bad(m->inputs[i]))
            return true;
    return false;
}

static void merger_failed(struct keeper *k, const char *what, int rc, const struct err *e)
{
    struct merger *m = &k->merger;
    bool bad = merger_has_bad_input(m);
    int counts_as = rc == ERR_FULL ? ERR_IO : rc; /* the reserve is not for merges */
    uint64_t retry_ns = keeping_failed(k, what, counts_as, e);

    if (m->all) {
        if (m->all_err.code == OK)
            m->all_err = *e;
        if (!bad)
            m->all_lsn = m->all_end; /* that would only fail again */
    } else if (!bad) {
        m->surveying = false;
        m->retry_ns = retry_ns + MERGER_PAUSE_S * KEEPER_S;
    }
    merger_give_up(k);
}

static int merger_take_inputs(struct keeper *k, size_t first, size_t n, struct err *e)
{
    struct merger *m = &k->merger;

    m->inputs = malloc(n * sizeof(struct segment *));
    if (m->inputs == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a merge");
    for (size_t i = 0; i < n; i++)
        m->inputs[i] = segment_ref(k->view->segments[first + i]);
    m->n_inputs = n;
    m->reflects = 0;
    m->has_segment = m->shown = false;
    return OK;
}

/* Sets a merge of the inputs up. */
static int merger_set_up(struct keeper *k, bool strong, uint8_t level, struct err *e)
{
    struct merger *m = &k->merger;
    struct merge_options o = { .inputs = m->inputs,
                               .n_inputs = m->n_inputs,
                               .strong = strong,
                               .auto_codec = BLOCK_ZSTD,
                               .auto_level = 1 };
    int rc;

    o.out =
        (struct segment_options){ .io = k->o.io,
                                  .dir = k->dir,
                                  .uuid = k->uuid,
                                  .ordinal = k->manifest.next_ordinal,
                                  .lsn_first = segment_info(m->inputs[0])->lsn_first,
                                  .lsn_last = segment_info(m->inputs[m->n_inputs - 1])->lsn_last,
                                  .level = level,
                                  .block_bytes = k->o.block_bytes };
    rc = merge_new(&o, &m->merge, e);
    if (rc == OK)
        k->manifest.next_ordinal++;
    return rc;
}

static void merger_begin(struct keeper *k, size_t first, size_t n, bool strong, uint8_t level)
{
    struct merger *m = &k->merger;
    struct err e;
    int rc = merger_take_inputs(k, first, n, &e);

    if (rc == OK)
        rc = merger_set_up(k, strong, level, &e);
    if (rc != OK) {
        merger_failed(k, "merging", rc, &e);
        return;
    }
    m->state = MERGER_BUILDS;
    merger_work(k, merger_build);
}

/* ---- tiers ---- */

/* Segments of the view that all streams have by now. */
static size_t merger_n(const struct keeper *k)
{
    bool installs = k->sealer.state == SEALER_INSTALLS && k->sealer.has_segment;

    return k->view->n - installs;
}

static const struct segment_info *merger_info(const struct keeper *k, size_t i)
{
    return segment_info(k->view->segments[i]);
}

/* How many from `first` on are of its level and sound, at most MERGER_FILES. */
static size_t merger_stretch(const struct keeper *k, size_t first)
{
    size_t n = 0;

    while (n < MERGER_FILES && first + n < merger_n(k) &&
           !segment_is_bad(k->view->segments[first + n]) &&
           merger_info(k, first + n)->level == merger_info(k, first)->level)
        n++;
    return n;
}

/* How many of the n from `first` on fit into one. */
static size_t merger_fitting(const struct keeper *k, size_t first, size_t n)
{
    uint64_t raw = 0;
    size_t fit = 0;

    while (fit < n && raw <= merger_raw_max(k))
        raw += merger_info(k, first + fit++)->raw_bytes;
    return raw > merger_raw_max(k) && fit > 1 ? fit - 1 : fit;
}

static bool merger_has_long_runs(const struct keeper *k, size_t first, size_t n)
{
    uint64_t raw = 0, runs = 0;

    for (size_t i = first; i < first + n; i++) {
        raw += merger_info(k, i)->raw_bytes;
        runs += merger_info(k, i)->n_streams;
    }
    return runs == 0 || raw / runs >= MERGER_LONG_RUN;
}

/* True if it began one. */
static bool merger_begin_tier(struct keeper *k)
{
    size_t n;

    for (size_t first = 0; first<merger_n(k); first += n> 0 ? n : 1) {
        size_t fit;
        n = merger_stretch(k, first);
        if (n < MERGER_FAN || (n < MERGER_FILES && merger_has_long_runs(k, first, n)))
            continue;
        if (n < MERGER_FILES)
            n = MERGER_FAN;
        fit = merger_fitting(k, first, n);
        if (fit < 2) {
            n = 1;
            continue;
        }
        merger_begin(k, first, fit, false, (uint8_t)(merger_info(k, first)->level + 1));
        return true;
    }
    return false;
}

/* ---- garbage ---- */

void merger_note_garbage(struct keeper *k, uint64_t bytes)
{
    k->merger.noted_bytes += bytes;
    if (k->merger.noted_bytes >= k->o.part_bytes)
        k->more = true;
}

static bool merger_survey_is_due(struct keeper *k)
{
    struct merger *m = &k->merger;
    uint64_t raw = 0;

    if (k->view->n == 0)
        return false;
    if (m->first_survey_ns == 0)
        m->first_survey_ns = k->now_ns + MERGER_FIRST_SURVEY_S * KEEPER_S;
    if (k->now_ns >= m->first_survey_ns) {
        m->first_survey_ns = KEEPER_NEVER;
        return true;
    }
    keeping_wake_at(k, m->first_survey_ns);
    for (size_t i = 0; i < k->view->n; i++)
        raw += merger_info(k, i)->raw_bytes;
    return m->noted_bytes >= k->o.part_bytes && m->noted_bytes >= raw / MERGER_SURVEY_PART;
}

/* Forgets what is known of segments that are gone. */
static void merger_forget_dead(struct keeper *k)
{
    struct merger *m = &k->merger;
    size_t n = 0;

    for (size_t i = 0; i < m->n_dead; i++) {
        bool there = false;
        for (size_t j = 0; j < k->view->n; j++)
            there |= merger_info(k, j)->ordinal == m->dead[i].ordinal;
        if (there)
            m->dead[n++] = m->dead[i];
    }
    m->n_dead = n;
}

static void merger_note_dead(struct merger *m, uint64_t ordinal, uint64_t bytes)
{
    size_t i = 0;

    while (i < m->n_dead && m->dead[i].ordinal != ordinal)
        i++;
    if (i == m->cap_dead) {
        size_t cap = 2 * m->cap_dead + 16;
        struct merger_dead *dead = realloc(m->dead, cap * sizeof *dead);
        if (dead == NULL)
            return; /* a figure less */
        m->dead = dead;
        m->cap_dead = cap;
    }
    m->dead[i] = (struct merger_dead){ ordinal, bytes };
    if (i == m->n_dead)
        m->n_dead++;
}

/* The next segment of the survey; false if there is none. */
static bool merger_begin_survey(struct keeper *k)
{
    struct merger *m = &k->merger;
    struct err e;
    size_t i = 0;
    int rc;

    while (i < merger_n(k) &&
           (merger_info(k, i)->lsn_first < m->survey_lsn || segment_is_bad(k->view->segments[i])))
        i++;
    if (i == merger_n(k)) {
        m->surveying = false;
        return false;
    }
    m->survey_lsn = merger_info(k, i)->lsn_last + 1;
    rc = merger_take_inputs(k, i, 1, &e);
    if (rc == OK)
        rc = survey_new(m->inputs[0], &m->survey, &e);
    if (rc != OK) {
        merger_failed(k, "looking for garbage", rc, &e);
        return true;
    }
    m->state = MERGER_SURVEYS;
    merger_work(k, merger_survey);
    return true;
}

/* The segment's share of garbage is known: rewrites it if that is worth it. */
static void merger_judge(struct keeper *k)
{
    struct merger *m = &k->merger;
    const struct segment_info *info = segment_info(m->inputs[0]);
    uint64_t least = keeper_lacks_space(k) ? info->raw_bytes / 4 : info->raw_bytes / 2;
    struct survey_result found;
    struct err e;
    int rc;

    survey_result(m->survey, &found);
    survey_free(m->survey);
    m->survey = NULL;
    merger_note_dead(m, info->ordinal, found.bytes);
    if (found.n == 0 || found.bytes < least) {
        merger_give_up(k);
        return;
    }
    rc = merger_set_up(k, false, info->level, &e);
    if (rc != OK) {
        merger_failed(k, "merging", rc, &e);
        return;
    }
    m->state = MERGER_BUILDS;
    merger_work(k, merger_build);
}

static void merger_surveyed(struct keeper *k)
{
    struct merger *m = &k->merger;

    if (m->work.rc != OK) {
        merger_failed(k, "looking for garbage", m->work.rc, &m->work.err);
        return;
    }
    if (m->step == STEP_DONE) {
        merger_judge(k);
        return;
    }
    if (m->step == STEP_ASKS && !keeping_answer(k, survey_states(m->survey), &m->reflects))
        return;
    merger_work(k, merger_survey);
}

/* ---- everything ---- */

/* Requests whose seal is through are answered by one pass over what there is now. */
static void merger_begin_all(struct keeper *k)
{
    struct merger *m = &k->merger;

    if (m->all || k->batch_open || k->merges == NULL ||
        !parts_are_sealed(&k->parts, k->merges->lsn))
        return;
    m->all = true;
    m->all_lsn = 0;
    m->all_end = k->sealed_lsn + 1;
    m->all_asked = k->merges->lsn;
    m->all_err = (struct err){ 0 };
}

/* The next group of it; false at the end. */
static bool merger_begin_group(struct keeper *k)
{
    struct merger *m = &k->merger;
    size_t first = 0, n = 0, fit;
    uint8_t level = 0;

    while (first < k->view->n && (merger_info(k, first)->lsn_first < m->all_lsn ||
                                  segment_is_bad(k->view->segments[first])))
        first++;
    while (first + n < k->view->n && merger_info(k, first + n)->lsn_first < m->all_end &&
           !segment_is_bad(k->view->segments[first + n]))
        n++;
    if (n == 0)
        return false;
    fit = merger_fitting(k, first, n);
    for (size_t i = first; i < first + fit; i++)
        if (merger_info(k, i)->level > level)
            level = merger_info(k, i)->level;
    merger_begin(k, first, fit, true, (uint8_t)(fit > 1 && level < UINT8_MAX ? level + 1 : level));
    return true;
}

static void merger_end_all(struct keeper *k)
{
    struct merger *m = &k->merger;

    m->all = false;
    while (k->merges != NULL && k->merges->lsn <= m->all_asked)
        keeping_finish_merge(k, m->all_err.code, &m->all_err);
    k->more = true;
}

/* ---- what comes next ---- */

static void merger_idle(struct keeper *k)
{
    struct merger *m = &k->merger;

    if (k->writer == NULL)
        return;
    merger_begin_all(k);
    if (m->all) {
        if (!merger_begin_group(k))
            merger_end_all(k);
        return;
    }
    if (k->passive)
        return;
    if (m->retry_ns > k->now_ns) {
        keeping_wake_at(k, m->retry_ns);
        return;
    }
    if (!m->surveying && merger_survey_is_due(k)) {
        m->surveying = true;
        m->survey_lsn = 0;
        m->noted_bytes = 0;
    }
    if (m->surveying && merger_begin_survey(k))
        return;
    if (!keeper_lacks_space(k))
        merger_begin_tier(k);
}

/* ---- the way of a merge ---- */

static void merger_built(struct keeper *k)
{
    struct merger *m = &k->merger;

    if (m->work.rc != OK) {
        merger_failed(k, "merging", m->work.rc, &m->work.err);
        return;
    }
    if (m->step == STEP_DONE) {
        m->has_segment = merge_result(m->merge, &m->info);
        if (m->all)
            m->all_lsn = segment_info(m->inputs[m->n_inputs - 1])->lsn_last + 1;
        m->state = MERGER_WAITS;
        return;
    }
    if (m->step == STEP_ASKS && !keeping_answer(k, merge_states(m->merge), &m->reflects))
        return;
    merger_work(k, merger_build);
}

static void merger_name(struct keeper *k)
{
    struct merger *m = &k->merger;

    keeping_replace(k, m->inputs, m->n_inputs, m->has_segment ? &m->info : NULL);
    m->generation = k->clerk.cleaning.obsolete_from = keeping_edit(k);
    m->state = MERGER_NAMES;
}

static void merger_publish_or_name(struct keeper *k)
{
    struct merger *m = &k->merger;
    struct err e;
    int rc = keeping_reserve(k, m->n_inputs, &e);

    if (rc != OK && rc != ERR_TOO_BIG) { /* they become fewer */
        keeping_wake_at(k, keeping_failed(k, "merging", rc, &e));
    } else if (m->has_segment) {
        m->state = MERGER_PUBLISHES;
        merger_work(k, merger_publish);
    } else {
        merger_name(k);
    }
}

static void merger_published(struct keeper *k)
{
    struct merger *m = &k->merger;

    if (m->work.rc != OK)
        merger_failed(k, "merging", m->work.rc, &m->work.err);
    else
        merger_name(k);
}

static void merger_installed(struct keeper *k)
{
    struct merger *m = &k->merger;

    for (size_t i = 0; i < m->n_inputs; i++)
        blockcache_forget(k->cache, m->inputs[i]);
    k->stats.n_merges++;
    k->stats.merged_bytes_written += m->has_segment ? m->info.file_bytes : 0;
    m->retry_ns = 0;
    merger_forget_dead(k);
    merger_give_up(k);
}

/* What is to be forgotten of a stream's deleted IDs. The bug: all of them. */
static void merger_fold(struct keeper *k, const struct merge_fold *f)
{
    const struct log_host *h = &k->o.host;
    struct log_stream_state now = { 0 };

    if (BUG(BUG_DELETES_FORGOTTEN)) {
        h->describe(h->ctx, f->oid, &now);
        if (now.deletes != NULL)
            h->folded(h->ctx, f->oid, now.deletes, f->from, f->to);
        delset_unref(now.deletes);
        return;
    }
    h->folded(h->ctx, f->oid, f->deletes, f->from, f->to);
}

static void merger_install(struct keeper *k)
{
    struct merger *m = &k->merger;
    struct merge_fold fold;
    struct err e;

    if (!m->shown && keeping_show(k, m->inputs, m->n_inputs, m->segment, &e) != OK) {
        keeping_wake_at(k, keeping_failed(k, "installing a segment", ERR_NOMEM, &e));
        return; /* it is named: again, until there is memory for a list of segments */
    }
    m->shown = true;
    for (uint32_t n = 0; n < k->o.work_slice; n++) {
        if (!merge_fold_next(m->merge, &fold)) {
            merger_installed(k);
            return;
        }
        merger_fold(k, &fold);
    }
    k->more = true;
}

void merger_turn(struct keeper *k)
{
    struct merger *m = &k->merger;
    bool again = true;

    while (again && !m->work.running) {
        enum merger_state was = m->state;

        switch (m->state) {
        case MERGER_IDLE: merger_idle(k); break;
        case MERGER_SURVEYS: merger_surveyed(k); break;
        case MERGER_BUILDS: merger_built(k); break;
        case MERGER_WAITS:
            if (BUG(BUG_MANIFEST_BEFORE_SYNC) || keeping_is_durable(k, m->reflects))
                merger_publish_or_name(k);
            break;
        case MERGER_PUBLISHES: merger_published(k); break;
        case MERGER_NAMES:
            if (keeping_is_written(k, m->generation))
                m->state = MERGER_INSTALLS;
            break;
        case MERGER_INSTALLS: merger_install(k); break;
        }
        again = m->state != was;
    }
}

void merger_count(const struct keeper *k, struct log_stats *out)
{
    for (size_t i = 0; i < k->merger.n_dead; i++)
        out->segment_dead_bytes += k->merger.dead[i].bytes;
}

void merger_fini(struct keeper *k, bool abandon)
{
    struct merger *m = &k->merger;

    if (m->state == MERGER_WAITS && m->has_segment && !abandon)
        merger_unlink(k, m->info.ordinal, true);
    merger_give_up(k);
    free(m->dead);
    m->dead = NULL;
    m->n_dead = m->cap_dead = 0;
}
