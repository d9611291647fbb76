/*
 * info.c - INFO: lines of "name:value" in sections, all of them figures that are kept anyway.
 *
 * Clients look for Redis's names: a library decides by redis_version what it may send, a queue
 * warns if maxmemory_policy evicts, a dashboard plots used_memory. What Redis names and Beck does
 * not have (replicas, forks, scripts) is either 0, which is true, or left out. What Beck has and
 * Redis does not is in a section of its own, "log".
 *
 * Sections are a table of name, function, and whether they are shown without being asked for.
 * Memory and processor time are asked from the system when INFO comes: the only such calls in the
 * engine's thread.
 */
#include "broker/commands/info.h"
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "broker/commands/figures.h"
#include "broker/engine/args.h"
#include "broker/engine/blocking.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/engine/transaction.h"
#include "broker/pubsub/pubsub.h"
#include "broker/pubsub/tracking.h"
#include "broker/version.h"

enum {
    INFO_TTL_SAMPLES = 256, /* keys that avg_ttl looks at */
    INFO_RUN_ID_TEXT = 41,
};

struct info { /* what all sections need, gathered once */
    FILE *f;
    const struct engine *e;
    struct log_stats log;
};

/* ---- small texts ---- */

/* Names this run: the store's number and when the process started serving it. */
static const char *info_run_id(const struct engine *e, char out[INFO_RUN_ID_TEXT])
{
    const uint8_t *uuid = log_uuid(e->log);

    for (size_t i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", uuid[i]);
    snprintf(out + 32, 9, "%08x", (unsigned)(e->started_ms & 0xffffffffu));
    return out;
}

/* A number of bytes as "1.50M", as a person reads it. */
static const char *info_human(uint64_t bytes, char *out, size_t cap)
{
    static const char units[] = "BKMGT";
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && units[unit + 1] != '\0') {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(out, cap, "%" PRIu64 "B", bytes);
    else
        snprintf(out, cap, "%.2f%c", value, units[unit]);
    return out;
}

static void info_put_memory(const struct info *x, const char *name, uint64_t bytes)
{
    char human[32];

    fprintf(x->f, "%s:%" PRIu64 "\r\n", name, bytes);
    fprintf(x->f, "%s_human:%s\r\n", name, info_human(bytes, human, sizeof human));
}

static void info_put(const struct info *x, const char *name, uint64_t value)
{
    fprintf(x->f, "%s:%" PRIu64 "\r\n", name, value);
}

/* A text that must not end the line that it stands in. */
static void info_put_line(const struct info *x, const char *name, const char *text)
{
    fprintf(x->f, "log_%s:", name);
    for (; *text != '\0'; text++)
        fputc(*text == '\r' || *text == '\n' ? ' ' : *text, x->f);
    fprintf(x->f, "\r\n");
}

/* ---- sections ---- */

static void info_server(const struct info *x)
{
    const struct engine *e = x->e;
    uint64_t uptime_s = (e->now_ms - e->started_ms) / 1000;
    char run_id[INFO_RUN_ID_TEXT], path[1024];
    struct utsname os;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    path[n > 0 ? n : 0] = '\0';
    if (uname(&os) != 0)
        memset(&os, 0, sizeof os);
    fprintf(x->f, "redis_version:%s\r\nbeck_version:%s\r\n", BECKD_REDIS_VERSION, BECKD_VERSION);
    fprintf(x->f, "redis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_build_id:0\r\n");
    fprintf(x->f, "redis_mode:standalone\r\nos:%s %s %s\r\n", os.sysname, os.release, os.machine);
    fprintf(x->f, "arch_bits:%zu\r\nmultiplexing_api:epoll\r\n", 8 * sizeof(void *));
    fprintf(x->f, "process_id:%d\r\nprocess_supervised:no\r\n", (int)getpid());
    fprintf(x->f, "run_id:%s\r\n", info_run_id(e, run_id));
    fprintf(x->f, "tcp_port:%" PRId64 "\r\n", e->config->port);
    info_put(x, "server_time_usec", e->now_ms * 1000);
    info_put(x, "uptime_in_seconds", uptime_s);
    info_put(x, "uptime_in_days", uptime_s / 86400);
    fprintf(x->f, "executable:%s\r\nconfig_file:%s\r\nio_threads_active:0\r\n", path,
            e->config->config_file != NULL ? e->config->config_file : "");
}

static void info_clients(const struct info *x)
{
    const struct engine *e = x->e;
    size_t max_input = 0, max_output = 0, watching = 0, watched = 0;

    for (const struct client *c = e->clients; c != NULL; c = c->next) {
        size_t n = transaction_n_watched(c);
        if (max_input < c->input_bytes)
            max_input = c->input_bytes;
        if (max_output < c->out.memory)
            max_output = c->out.memory;
        watched += n;
        watching += n > 0;
    }
    info_put(x, "connected_clients", e->n_clients);
    info_put(x, "cluster_connections", 0);
    info_put(x, "maxclients", (uint64_t)e->config->maxclients);
    info_put(x, "client_recent_max_input_buffer", max_input);
    info_put(x, "client_recent_max_output_buffer", max_output);
    info_put(x, "blocked_clients", blocking_n_clients(e->blocking));
    info_put(x, "tracking_clients", e->n_trackers);
    info_put(x, "pubsub_clients", pubsub_n_clients(e));
    info_put(x, "watching_clients", watching);
    info_put(x, "total_watched_keys", watched);
    info_put(x, "total_blocking_keys", blocking_n_keys(e->blocking));
}

/* Resident bytes now and at most; 0 where /proc does not tell. (getrusage's maximum would include
 * what the process was before it became this program.) */
static void info_resident(uint64_t *now, uint64_t *peak)
{
    unsigned long long kib;
    char line[128];
    FILE *f = fopen("/proc/self/status", "re");

    *now = *peak = 0;
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "VmRSS: %llu kB", &kib) == 1)
            *now = kib * 1024;
        else if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
            *peak = kib * 1024;
    }
    fclose(f);
}

/* What `maxmemory` counts, and what it did to it. */
static void info_put_dataset(const struct info *x, uint64_t used)
{
    const struct config *config = x->e->config;
    uint64_t dataset = x->e->state.used_bytes;

    info_put(x, "used_memory_overhead", used > dataset ? used - dataset : 0);
    info_put(x, "used_memory_dataset", dataset);
    fprintf(x->f, "used_memory_dataset_perc:%.2f%%\r\n",
            used > 0 ? 100.0 * (double)dataset / (double)used : 0.0);
    info_put_memory(x, "maxmemory", config->maxmemory);
    fprintf(x->f, "maxmemory_policy:%s\r\nmaxmemory_spill:%d\r\n", config_policy(config),
            config->maxmemory_spill);
    info_put(x, "spilled_keys", x->e->state.n_cold);
}

static void info_memory(const struct info *x)
{
    struct mallinfo2 heap = mallinfo2();
    uint64_t used = heap.uordblks + heap.hblkhd + x->log.arena_bytes;
    uint64_t rss, peak, total;
    size_t clients = 0;

    info_resident(&rss, &peak);
    for (const struct client *c = x->e->clients; c != NULL; c = c->next)
        clients += sizeof *c + c->input_bytes + c->input_free + c->out.memory + c->aside.memory +
                   c->queued_bytes;
    total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    info_put_memory(x, "used_memory", used);
    info_put_memory(x, "used_memory_rss", rss);
    info_put_memory(x, "used_memory_peak", peak);
    info_put_memory(x, "total_system_memory", total);
    info_put_dataset(x, used);
    fprintf(x->f, "mem_fragmentation_ratio:%.2f\r\n", used > 0 ? (double)rss / (double)used : 0.0);
    info_put(x, "mem_clients_normal", clients);
    info_put(x, "mem_log_arena", x->log.arena_bytes);
    info_put(x, "mem_log_cache", x->log.cache.bytes);
    fprintf(x->f, "mem_allocator:libc\r\nactive_defrag_running:0\r\n");
}

static void info_persistence(const struct info *x)
{
    struct err err = { 0 };
    const char *status = log_failure(x->e->log, &err) == OK ? "ok" : "err";

    fprintf(x->f, "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\n");
    fprintf(x->f, "rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\n");
    fprintf(x->f, "aof_enabled:1\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\n");
    fprintf(x->f, "aof_last_bgrewrite_status:ok\r\naof_last_write_status:%s\r\n", status);
    info_put(x, "aof_current_size", x->log.file_bytes);
    info_put(x, "aof_buffer_length", x->log.queued_bytes);
}

static void info_stats(const struct info *x)
{
    const struct engine_stats *s = &x->e->stats;
    struct tracking_stats tracking;

    tracking_get_stats(x->e, &tracking);
    info_put(x, "total_connections_received", s->n_connections);
    info_put(x, "total_commands_processed", s->n_commands);
    info_put(x, "total_net_input_bytes", s->bytes_in);
    info_put(x, "total_net_output_bytes", s->bytes_out);
    info_put(x, "rejected_connections", s->n_rejected_connections);
    info_put(x, "expired_keys", s->n_expired_keys);
    info_put(x, "evicted_keys", s->n_evicted_keys);
    info_put(x, "spilled_values", s->n_spilled_values);
    info_put(x, "loaded_values", s->n_loaded_values);
    info_put(x, "evicted_clients", s->n_evicted_clients);
    info_put(x, "keyspace_hits", s->keyspace_hits);
    info_put(x, "keyspace_misses", s->keyspace_misses);
    info_put(x, "pubsub_channels", pubsub_n_names(x->e, PUBSUB_CHANNEL));
    info_put(x, "pubsub_patterns", pubsub_n_names(x->e, PUBSUB_PATTERN));
    info_put(x, "pubsubshard_channels", pubsub_n_names(x->e, PUBSUB_SHARD));
    info_put(x, "tracking_total_keys", tracking.n_keys);
    info_put(x, "tracking_total_items", tracking.n_items);
    info_put(x, "tracking_total_prefixes", tracking.n_prefixes);
    info_put(x, "total_error_replies", s->n_errors);
    info_put(x, "unexpected_error_replies", s->n_unexpected_errors);
    info_put(x, "client_query_buffer_limit_disconnections", s->n_query_limit_closed);
    info_put(x, "client_output_buffer_limit_disconnections", s->n_output_limit_closed);
}

static void info_replication(const struct info *x)
{
    char run_id[INFO_RUN_ID_TEXT];

    fprintf(x->f, "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n");
    fprintf(x->f, "master_replid:%s\r\nmaster_replid2:%040d\r\n", info_run_id(x->e, run_id), 0);
    fprintf(x->f, "master_repl_offset:0\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\n");
    fprintf(x->f, "repl_backlog_size:0\r\nrepl_backlog_first_byte_offset:0\r\n");
    fprintf(x->f, "repl_backlog_histlen:0\r\n");
}

static void info_put_time(const struct info *x, const char *name, const struct timeval *t)
{
    fprintf(x->f, "%s:%lld.%06ld\r\n", name, (long long)t->tv_sec, (long)t->tv_usec);
}

static void info_cpu(const struct info *x)
{
    struct rusage all, children, own;

    if (getrusage(RUSAGE_SELF, &all) != 0 || getrusage(RUSAGE_CHILDREN, &children) != 0 ||
        getrusage(RUSAGE_THREAD, &own) != 0)
        return;
    info_put_time(x, "used_cpu_sys", &all.ru_stime);
    info_put_time(x, "used_cpu_user", &all.ru_utime);
    info_put_time(x, "used_cpu_sys_children", &children.ru_stime);
    info_put_time(x, "used_cpu_user_children", &children.ru_utime);
    info_put_time(x, "used_cpu_sys_main_thread", &own.ru_stime);
    info_put_time(x, "used_cpu_user_main_thread", &own.ru_utime);
}

static void info_modules(const struct info *x)
{
    (void)x;
}

static void info_cluster(const struct info *x)
{
    info_put(x, "cluster_enabled", 0);
}

/* An estimate from INFO_TTL_SAMPLES keys taken at random. */
static uint64_t info_average_ttl_ms(const struct engine *e, const struct state_db *db)
{
    uint64_t sum = 0, n = 0, r = e->clock;

    for (int i = 0; i < INFO_TTL_SAMPLES && db->n_expiring > 0; i++) {
        const struct object *o;
        r = r * 6364136223846793005 + 1442695040888963407; /* Knuth's; any spread will do */
        o = state_of_node(dict_random(&db->names, r));
        if (o->expiry_ms <= e->now_ms)
            continue;
        sum += o->expiry_ms - e->now_ms;
        n++;
    }
    return n > 0 ? sum / n : 0;
}

static void info_keyspace(const struct info *x)
{
    for (int i = 0; i < CONFIG_DATABASES; i++) {
        const struct state_db *db = &x->e->state.dbs[x->e->state.place[i]];
        if (db->names.n > 0)
            fprintf(x->f, "db%d:keys=%zu,expires=%zu,avg_ttl=%" PRIu64 ",subexpiry=0\r\n", i,
                    db->names.n, db->n_expiring, info_average_ttl_ms(x->e, db));
    }
}

static void info_log(const struct info *x)
{
    struct figures f;

    figures_get(x->e, &f);
    for (size_t i = 0; i < f.n; i++) {
        switch (f.at[i].kind) {
        case FIGURE_NUMBER:
            fprintf(x->f, "log_%s:%" PRIu64 "\r\n", f.at[i].name, f.at[i].number);
            break;
        case FIGURE_RATIO: fprintf(x->f, "log_%s:%.3f\r\n", f.at[i].name, f.at[i].ratio); break;
        case FIGURE_TEXT: info_put_line(x, f.at[i].name, f.at[i].text); break;
        }
    }
}

static const struct {
    const char *name, *title;
    void (*put)(const struct info *x);
    bool by_default;
} info_sections[] = {
    { "server", "Server", info_server, true },
    { "clients", "Clients", info_clients, true },
    { "memory", "Memory", info_memory, true },
    { "persistence", "Persistence", info_persistence, true },
    { "stats", "Stats", info_stats, true },
    { "replication", "Replication", info_replication, true },
    { "cpu", "CPU", info_cpu, true },
    { "modules", "Modules", info_modules, true },
    { "cluster", "Cluster", info_cluster, true },
    { "keyspace", "Keyspace", info_keyspace, true },
    { "log", "Log", info_log, true },
};

enum { INFO_SECTIONS = sizeof info_sections / sizeof info_sections[0] };

/* Whether the i-th section was asked for, by its name or with others. */
static bool info_wanted(size_t i, const struct slice *argv, size_t argc)
{
    if (argc == 1)
        return info_sections[i].by_default;
    for (size_t arg = 1; arg < argc; arg++)
        if (args_word(argv[arg], info_sections[i].name) || args_word(argv[arg], "all") ||
            args_word(argv[arg], "everything") ||
            (args_word(argv[arg], "default") && info_sections[i].by_default))
            return true;
    return false;
}

static void info_put_sections(struct info *x, struct client *c, const struct slice *argv,
                              size_t argc, struct engine *e)
{
    const char *gap = "";

    for (size_t i = 0; i < INFO_SECTIONS; i++) {
        if (!info_wanted(i, argv, argc))
            continue;
        if (info_sections[i].put == info_keyspace)
            engine_need_all(e, c); /* the number of keys tells what was written */
        fprintf(x->f, "%s# %s\r\n", gap, info_sections[i].title);
        info_sections[i].put(x);
        gap = "\r\n";
    }
}

void info_command(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    char *text = NULL;
    size_t n = 0;
    struct info x = { .f = open_memstream(&text, &n), .e = e };

    if (x.f == NULL) {
        reply_error(c, "ERR out of memory");
        return;
    }
    log_get_stats(e->log, &x.log);
    info_put_sections(&x, c, argv, argc, e);
    bool failed = ferror(x.f) != 0;
    if (fclose(x.f) != 0 || failed)
        reply_error(c, "ERR out of memory");
    else
        reply_verbatim(c, text, n);
    free(text);
}
