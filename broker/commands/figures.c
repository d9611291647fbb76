/*
 * figures.c - gathers the log's figures, in groups, for programs and for people.
 *
 * Bytes written count since the start of the process, and so does received_bytes, what they are compared with:
 *
 *   write_amplification   total_written_bytes / received_bytes: all that was given to the disk for a byte of field names
 *                         and values. Meaningful once all is sealed and merged.
 *   compression_ratio     segment_raw_bytes / segment_bytes: entries as rows, against the files.
 */
#include "broker/commands/figures.h"
#include <assert.h>
#include <stdio.h>
#include "broker/engine/redelivery.h"
#include "broker/engine/retention.h"

static void figures_add(struct figures *f, struct figure figure)
{
    assert(f->n < FIGURES_MAX);
    f->at[f->n++] = figure;
}

static void figures_number(struct figures *f, const char *name, uint64_t number)
{
    figures_add(f, (struct figure){ .name = name, .kind = FIGURE_NUMBER, .number = number });
}

static void figures_ratio(struct figures *f, const char *name, uint64_t of, uint64_t to)
{
    figures_add(f, (struct figure){ .name = name,
                                    .kind = FIGURE_RATIO,
                                    .ratio = to > 0 ? (double)of / (double)to : 0.0 });
}

static void figures_text(struct figures *f, const char *name, const char *text)
{
    figures_add(f, (struct figure){ .name = name, .kind = FIGURE_TEXT, .text = text });
}

static void figures_watermarks(struct figures *f, const struct log *l)
{
    struct err err = { 0 };

    figures_text(f, "uuid", f->uuid);
    figures_number(f, "last_lsn", log_last_lsn(l));
    figures_number(f, "written_lsn", log_written_lsn(l));
    figures_number(f, "durable_lsn", log_durable_lsn(l));
    figures_number(f, "released_lsn", log_released_lsn(l));
    figures_number(f, "full", log_is_full(l));
    figures_number(f, "backed_up", log_is_backed_up(l));
    figures_number(f, "failed", log_failure(l, &err) != OK);
}

static void figures_wal(struct figures *f, const struct log_stats *s)
{
    figures_number(f, "full_times", s->n_full);
    figures_number(f, "files", s->n_files);
    figures_number(f, "file_bytes", s->file_bytes);
    figures_number(f, "written_bytes", s->written_bytes);
    figures_number(f, "record_bytes", s->record_bytes);
    figures_number(f, "queued_bytes", s->queued_bytes);
    figures_number(f, "batches", s->n_batches);
    figures_number(f, "batches_inline", s->n_inline);
    figures_number(f, "batches_queued", s->n_queued);
    figures_number(f, "inline_slow", s->n_slow_inline);
    figures_number(f, "always_records", s->n_always_records);
    figures_number(f, "fsyncs", s->n_syncs);
    figures_number(f, "fsyncs_inline", s->n_inline_syncs);
    figures_number(f, "fsync_usec_total", s->sync_ns_total / 1000);
    figures_number(f, "fsync_usec_max", s->sync_ns_max / 1000);
}

static void figures_arena(struct figures *f, const struct log_stats *s)
{
    figures_number(f, "arena_bytes", s->arena_bytes);
    figures_number(f, "unsealed_bytes", s->unsealed_bytes);
    figures_number(f, "parts_sealing", s->n_parts_sealing);
    figures_number(f, "parts_pinned", s->pinned_parts);
    figures_number(f, "sealed_lsn", s->sealed_lsn);
    figures_number(f, "checkpoint_lsn", s->checkpoint_lsn);
    figures_number(f, "first_lsn", s->wal_first_lsn);
}

static void figures_segments(struct figures *f, const struct log_stats *s)
{
    figures_number(f, "segments", s->n_segments);
    figures_number(f, "segment_bytes", s->segment_bytes);
    figures_number(f, "segment_raw_bytes", s->segment_raw_bytes);
    figures_number(f, "segment_entries", s->segment_entries);
    figures_number(f, "segment_dead_bytes", s->segment_dead_bytes);
    figures_ratio(f, "compression_ratio", s->segment_raw_bytes, s->segment_bytes);
    figures_number(f, "bad_segments", s->n_bad_segments);
    figures_number(f, "files_set_aside", s->n_set_aside);
}

static void figures_work(struct figures *f, const struct log_stats *s)
{
    figures_number(f, "seals", s->n_seals);
    figures_number(f, "merges", s->n_merges);
    figures_number(f, "checkpoints", s->n_checkpoints);
    figures_number(f, "manifests", s->n_manifests);
    figures_number(f, "job_errors", s->n_job_errors);
    snprintf(f->job_error, sizeof f->job_error, "%s", s->last_job_error);
    figures_text(f, "last_job_error", f->job_error);
}

static void figures_amplification(struct figures *f, const struct log_stats *s, uint64_t received)
{
    uint64_t total = s->written_bytes + s->sealed_bytes_written + s->merged_bytes_written +
                     s->checkpoint_bytes_written + s->manifest_bytes_written;

    figures_number(f, "sealed_written_bytes", s->sealed_bytes_written);
    figures_number(f, "merged_written_bytes", s->merged_bytes_written);
    figures_number(f, "checkpoint_written_bytes", s->checkpoint_bytes_written);
    figures_number(f, "manifest_written_bytes", s->manifest_bytes_written);
    figures_number(f, "total_written_bytes", total);
    figures_number(f, "received_bytes", received);
    figures_ratio(f, "write_amplification", total, received);
}

static void figures_cache(struct figures *f, const struct log_stats *s)
{
    figures_number(f, "cache_limit", s->cache.limit);
    figures_number(f, "cache_bytes", s->cache.bytes);
    figures_number(f, "cache_pinned_bytes", s->cache.pinned_bytes);
    figures_number(f, "cache_blocks", s->cache.n);
    figures_number(f, "cache_hits", s->cache.hits);
    figures_number(f, "cache_misses", s->cache.misses);
    figures_number(f, "cache_evictions", s->cache.evictions);
    figures_number(f, "sync_reads", s->n_cold_sync_reads);
}

static void figures_retention(struct figures *f, const struct engine *e)
{
    struct retention_stats s;

    retention_get_stats(e, &s);
    figures_number(f, "retention_scheduled", s.n_scheduled);
    figures_number(f, "retention_walking", s.walking);
    figures_number(f, "retention_cuts", s.n_cuts);
    figures_number(f, "retention_entries", s.n_entries);
    figures_number(f, "retention_bytes", s.bytes);
    figures_number(f, "retention_failed", s.n_failed);
    snprintf(f->retention_error, sizeof f->retention_error, "%.199s",
             s.last_error.code == OK ? "" : s.last_error.text);
    figures_text(f, "retention_last_error", f->retention_error);
}

static void figures_groups(struct figures *f, const struct engine *e)
{
    struct redelivery_stats s;

    redelivery_get_stats(e, &s);
    figures_number(f, "groups_scheduled", s.n_scheduled);
    figures_number(f, "dead_lettered", s.n_dead_lettered);
    figures_number(f, "dead_lettered_gone", s.n_gone);
    figures_number(f, "dead_letters_failed", s.n_failed);
    figures_number(f, "consumers_expired", s.n_consumers_expired);
}

void figures_get(const struct engine *e, struct figures *out)
{
    const uint8_t *uuid = log_uuid(e->log);
    struct log_stats s;

    out->n = 0;
    for (size_t i = 0; i < 16; i++)
        snprintf(out->uuid + 2 * i, 3, "%02x", uuid[i]);
    log_get_stats(e->log, &s);
    figures_watermarks(out, e->log);
    figures_wal(out, &s);
    figures_arena(out, &s);
    figures_segments(out, &s);
    figures_work(out, &s);
    figures_amplification(out, &s, e->received_bytes);
    figures_cache(out, &s);
    figures_retention(out, e);
    figures_groups(out, e);
}
