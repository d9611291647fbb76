/*
 * log_groups.c - consumer groups in `beck log dump`.
 *
 * Sets of IDs come in front of the columns that belong to them, so what is
 * told of single entries are arrays of the same length.
 */
#include "cli/log_groups.h"
#include <inttypes.h>

#include "cli/log_fields.h"
#include "log/bytes.h"
#include "log/idset.h"

enum { /* the bits of docs/format.md */
       DELIVERY_LAST = 1,
       DELIVERY_IDS = 2,
       DELIVERY_KEYS = 4,
       DELIVERY_PARKED = 8,
       CHANGE_NACKED = 1,
       CHANGE_ACTIVE = 2,
       CHANGE_COUNTS = 4,
       CHANGE_KEYS = 8,
       PENDING_NACKED = 1,
       PENDING_GONE = 2,
       PENDING_KEY = 4,
       PENDING_SHIFT = 3,
       SLOT_PARKED = 65535
};

/* A set of IDs, as an array; returns how many. */
static uint64_t fields_ids(struct fields *f)
{
    struct idset_reader r;
    struct id id;
    uint64_t n = 0;

    f->sound = f->sound && idset_open(&r, f->p, f->end, IDSET_MAX);
    text_put_char(f->t, '[');
    if (f->sound) {
        for (n = 0; idset_next(&r, &id); n++)
            text_printf(f->t, "%s\"%" PRIu64 "-%" PRIu64 "\"", n > 0 ? "," : "", id.ms, id.seq);
        f->sound = r.left == 0;
        f->p = r.p;
    }
    text_put_char(f->t, ']');
    return n;
}

static uint64_t fields_named_ids(struct fields *f, const char *name)
{
    fields_name(f, name);
    return fields_ids(f);
}

static uint32_t fields_u32(struct fields *f)
{
    f->sound = f->sound && f->end - f->p >= 4;
    if (!f->sound)
        return 0;
    f->p += 4;
    return get_u32le(f->p - 4);
}

static void fields_keys(struct fields *f, const char *name, uint64_t n)
{
    fields_name(f, name);
    text_put_char(f->t, '[');
    for (uint64_t i = 0; f->sound && i < n; i++) {
        text_put_str(f->t, i > 0 ? "," : "");
        text_put_u64(f->t, fields_u32(f));
    }
    text_put_char(f->t, ']');
}

/* ---- values ---- */

bool log_groups_put_ids(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);

    fields_ids(&f);
    *p = f.p;
    return f.sound;
}

bool log_groups_put_position(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);

    fields_id(&f, "last-id");
    fields_number_or_null(&f, "entries-read");
    fields_number(&f, "behind");
    return fields_end(&f, p);
}

static void log_groups_put_option(struct fields *f)
{
    switch (fields_u64(f)) {
    case 1: fields_number(f, "ackwait"); break;
    case 2: fields_number(f, "maxdeliver"); break;
    case 3: fields_string(f, "dlq"); break;
    case 4: fields_numbers(f, "backoff", fields_u64(f)); break;
    case 5: fields_number(f, "maxpending"); break;
    case 6: fields_number(f, "consumerttl"); break;
    case 7:
        fields_string(f, "orderby");
        fields_number(f, "seed");
        break;
    default: f->sound = false;
    }
}

bool log_groups_put_options(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);

    for (uint64_t n = fields_u64(&f); f.sound && n > 0; n--)
        log_groups_put_option(&f);
    return fields_end(&f, p);
}

bool log_groups_put_back(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    uint64_t back = fields_u64(&f);

    if (back == 0)
        text_put_str(t, "null");
    else
        text_put_u64(t, fields_u64(&f));
    *p = f.p;
    return f.sound && back <= 1;
}

bool log_groups_put_delivery(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    uint64_t flags = fields_u64(&f), n = 0;

    fields_number(&f, "ms");
    if (flags & DELIVERY_LAST)
        fields_id(&f, "last-id");
    fields_number_or_null(&f, "entries-read");
    fields_number(&f, "behind");
    if (flags & DELIVERY_IDS)
        n = fields_named_ids(&f, "ids");
    if (flags & DELIVERY_KEYS)
        fields_keys(&f, "keys", n);
    if (flags & DELIVERY_PARKED)
        fields_keys(&f, "parked-keys", fields_named_ids(&f, "parked"));
    return fields_end(&f, p);
}

bool log_groups_put_change(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    uint64_t flags = fields_u64(&f), n;

    fields_name(&f, "state");
    text_put_str(t, flags & CHANGE_NACKED ? "\"nacked\"" : "\"held\"");
    fields_number(&f, "ms");
    if (flags & CHANGE_ACTIVE)
        fields_number(&f, "active-ms");
    if (!(flags & CHANGE_COUNTS))
        fields_number(&f, "count");
    n = fields_named_ids(&f, "ids");
    if (flags & CHANGE_COUNTS)
        fields_numbers(&f, "counts", n);
    if (flags & CHANGE_KEYS)
        fields_keys(&f, "keys", n);
    return fields_end(&f, p);
}

/* ---- items of checkpoints ---- */

bool log_groups_put_consumers(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    uint64_t n = fields_u64(&f);

    text_put_char(t, '[');
    for (uint64_t i = 0; f.sound && i < n; i++) {
        text_put_str(t, i > 0 ? "," : "");
        f.any = false;
        fields_number(&f, "slot");
        fields_number(&f, "lsn");
        fields_number(&f, "active-ms");
        fields_string(&f, "name");
        text_put_char(t, '}');
    }
    text_put_char(t, ']');
    *p = f.p;
    return f.sound;
}

static const char *log_groups_state(uint64_t head)
{
    if (head >> PENDING_SHIFT == SLOT_PARKED)
        return "parked";
    return head & PENDING_NACKED ? "nacked" : "held";
}

/* What stands behind the IDs of saved entries, for one. */
static void log_groups_put_entry(struct fields *f, uint64_t *ms)
{
    uint64_t head = fields_u64(f), difference = fields_u64(f);

    *ms += difference >> 1 ^ (0 - (difference & 1));
    f->any = false;
    fields_name(f, "state");
    text_printf(f->t, "\"%s\"", log_groups_state(head));
    fields_name(f, "slot");
    text_put_u64(f->t, head >> PENDING_SHIFT);
    fields_name(f, "ms");
    text_put_u64(f->t, *ms);
    fields_number(f, "count");
    if (head & PENDING_KEY) {
        fields_name(f, "key");
        text_put_u64(f->t, fields_u32(f));
    }
    if (head & PENDING_GONE) {
        fields_name(f, "gone");
        text_put_str(f->t, "true");
    }
    text_put_char(f->t, '}');
}

bool log_groups_put_pending(struct text *t, const uint8_t **p, const uint8_t *end)
{
    struct fields f = fields_of(t, p, end);
    uint64_t n = fields_named_ids(&f, "ids"), ms = 0;

    fields_name(&f, "entries");
    text_put_char(t, '[');
    for (uint64_t i = 0; f.sound && i < n; i++) {
        text_put_str(t, i > 0 ? "," : "");
        log_groups_put_entry(&f, &ms);
    }
    text_put_char(t, ']');
    f.any = true;
    return fields_end(&f, p);
}
