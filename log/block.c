/*
 * block.c - entries of a segment, packed.
 *
 *   block    header (32 bytes), payload (stored_bytes), which is compressed or as it is
 *   payload  body, head, head's length (u32)
 *
 *           0        4              8           12             16       20      21       22     32
 *   header │ crc32c │ stored bytes │ raw bytes │ packed bytes │ n rows │ codec │ layout │ zero │
 *
 * The checksum starts from the file's salt and the block's number and covers the rest of the block, so
 * that one that was read from elsewhere is not taken for this one.
 *
 * The head says what the body is made of (column.c). First come the runs: the streams and how many rows
 * each has. Then, depending on the layout:
 *
 *   rows     the rows' lengths, and the rows as they were
 *   columns  IDs as two columns: ms, and seq less what is expected (one more than the row's before of
 *            the same ms, else 0). Field names once for each list of names that occurs (a schema);
 *            if there are several, a column that says which one a row has; then each field's values
 *            as a column of their own, and the dictionary.
 *
 * Columns are taken if that gives back the rows byte for byte, which it does unless a number in a row
 * is longer than need be; and if there are not too many schemas. What does not become smaller by a
 * tenth is stored as rows, uncompressed.
 *
 * A reader checks everything, after the checksum: a sound checksum says that the bytes are those that were
 * written, not that they were written by this program. What it allocates is bounded by raw_bytes.
 *
 *   B1  Streams ascend, and the IDs of a stream.
 *   B2  A decoded block's rows fill its data exactly; each passes entry_check.
 */
#include "log/block.h"
#include <assert.h>
#include <stdlib.h>
#include "log/codec.h"
#include "log/column.h"
#include "log/crc32c.h"
#include "log/entry.h"
#include "log/splitter.h"

enum block_layout { BLOCK_ROWS, BLOCK_COLUMNS, BLOCK_N_LAYOUTS };

enum {
    BLOCK_COLUMN_ROWS_MIN = 4,  /* fewer rows have nothing to share */
    BLOCK_ENTRY_MIN = 3,        /* bytes */
    BLOCK_KEEP_BYTES = 2 << 20, /* larger buffers are given back */
    BLOCK_HEAD_LEN = 4,
};

/* How large a payload may be before it is compressed. */
static uint64_t block_packed_max(uint64_t raw, uint64_t n)
{
    return raw + 16 * n + 4096;
}

/* ---- writing ---- */

struct block_encoder {
    struct column_writer columns;
    struct codec_writer *codec;
    struct splitter splitter;
    uint8_t *out;
    size_t cap_out;
};

struct block_encoder *block_encoder_new(void)
{
    struct block_encoder *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->codec = codec_writer_new();
    if (!column_writer_init(&c->columns) || c->codec == NULL) {
        block_encoder_free(c);
        return NULL;
    }
    return c;
}

void block_encoder_free(struct block_encoder *c)
{
    if (c == NULL)
        return;
    column_writer_fini(&c->columns);
    codec_writer_free(c->codec);
    splitter_fini(&c->splitter);
    free(c->out);
    free(c);
}

static bool block_encoder_out(struct block_encoder *c, size_t n)
{
    if (n <= c->cap_out)
        return true;
    free(c->out);
    c->out = malloc(n);
    c->cap_out = c->out != NULL ? n : 0;
    return c->out != NULL;
}

static void block_encoder_shrink(struct block_encoder *c)
{
    column_writer_shrink(&c->columns, BLOCK_KEEP_BYTES);
    splitter_shrink(&c->splitter, BLOCK_KEEP_BYTES);
    if (c->cap_out > BLOCK_KEEP_BYTES) {
        free(c->out);
        c->out = NULL;
        c->cap_out = 0;
    }
}

static void block_put_ids(struct block_encoder *c, const struct block_row *rows, size_t n)
{
    const struct id *ids = c->splitter.ids;
    uint64_t *x = column_numbers(&c->columns, n);

    if (x == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        x[i] = ids[i].ms;
    column_put_numbers(&c->columns, x, n);
    for (size_t i = 0; i < n; i++) {
        bool follows = i > 0 && rows[i].oid == rows[i - 1].oid && ids[i].ms == ids[i - 1].ms;
        x[i] = follows ? ids[i].seq - ids[i - 1].seq - 1 : ids[i].seq;
    }
    column_put_numbers(&c->columns, x, n);
}

static void block_put_schemas(struct block_encoder *c, size_t n)
{
    const struct splitter *s = &c->splitter;
    uint64_t *x;

    column_put_head(&c->columns, s->n_schemas);
    for (size_t i = 0; i < s->n_schemas; i++) {
        const struct slice *names = s->names + s->schemas[i].first;
        column_put_head(&c->columns, s->schemas[i].n);
        for (size_t k = 0; k < s->schemas[i].n; k++)
            column_put_head_bytes(&c->columns, names[k].p, names[k].n);
    }
    x = column_numbers(&c->columns, n);
    if (x == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        x[i] = s->schema_of[i];
    column_put_numbers(&c->columns, x, n);
}

static void block_put_columns(struct block_encoder *c)
{
    struct splitter *s = &c->splitter;

    for (size_t i = 0; i < s->n_schemas; i++)
        for (size_t k = 0; k < s->schemas[i].n; k++)
            column_put_values(&c->columns, splitter_column(s, i, k), s->schemas[i].n_rows);
    column_put_words(&c->columns);
}

/* ---- a block ---- */

static void block_put_runs(struct block_encoder *c, const struct block_row *rows, size_t n)
{
    size_t n_runs = 1;
    uint64_t *x;

    for (size_t i = 1; i < n; i++)
        n_runs += rows[i].oid != rows[i - 1].oid;
    column_put_head(&c->columns, n_runs);
    x = column_numbers(&c->columns, 2 * n_runs);
    if (x == NULL)
        return;
    for (size_t i = 0, run = 0; i < n; run++) {
        size_t first = i;
        while (++i < n && rows[i].oid == rows[first].oid)
            ;
        x[run] = rows[first].oid;
        x[n_runs + run] = i - first;
    }
    column_put_numbers(&c->columns, x, n_runs);
    column_put_numbers(&c->columns, x + n_runs, n_runs);
}

/* All but the rows, which follow as the body's last part. */
static void block_put_lengths(struct block_encoder *c, const struct block_row *rows, size_t n)
{
    uint64_t *x = column_numbers(&c->columns, n);

    if (x == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        x[i] = rows[i].len;
    column_put_numbers(&c->columns, x, n);
}

static uint8_t *block_copy_rows(uint8_t *p, const struct block_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bytes_copy(p, rows[i].entry, rows[i].len);
        p += rows[i].len;
    }
    return p;
}

/* Puts the head behind the body. */
static void block_join(struct block_encoder *c)
{
    struct column_buffer head = c->columns.head;
    uint8_t len[BLOCK_HEAD_LEN];

    put_u32le(len, (uint32_t)head.n);
    column_put_head_bytes(&c->columns, len, sizeof len);
    column_put_bytes(&c->columns, c->columns.head.p, c->columns.head.n);
}

/* What becomes the header. */
struct block_figures {
    size_t stored, raw, packed, n;
    enum block_codec codec;
    enum block_layout layout;
};

static void block_header(uint8_t *p, const struct block_figures *f)
{
    memset(p, 0, BLOCK_HEADER_BYTES);
    put_u32le(p + 4, (uint32_t)f->stored);
    put_u32le(p + 8, (uint32_t)f->raw);
    put_u32le(p + 12, (uint32_t)f->packed);
    put_u32le(p + 16, (uint32_t)f->n);
    p[20] = (uint8_t)f->codec;
    p[21] = (uint8_t)f->layout;
    block_stamp(p, BLOCK_HEADER_BYTES + f->stored, 0, 0);
}

/* Compresses the payload; f->stored is 0 if that is not worth it. */
static int block_pack(struct block_encoder *c, int level, struct block_figures *f, struct err *e)
{
    const struct column_buffer *body = &c->columns.body, *ends = &c->columns.ends;
    size_t cap = f->raw - f->raw / 10;

    f->packed = body->n;
    f->stored = 0;
    if (body->n > f->raw / 2 && codec_is_hopeless(c->codec, body->p, body->n))
        return OK;
    if (!block_encoder_out(c, BLOCK_HEADER_BYTES + cap))
        return err_set(e, ERR_NOMEM, "encode a block");
    return codec_pack(c->codec, f->codec, level, body->p, (const size_t *)(void *)ends->p,
                      ends->n / sizeof(size_t), c->out + BLOCK_HEADER_BYTES, cap, &f->stored, e);
}

static int block_encode_columns(struct block_encoder *c, const struct block_row *rows, int level,
                                struct block_figures *f, struct err *e)
{
    bool fits;
    int rc;

    f->layout = BLOCK_COLUMNS;
    f->stored = 0;
    if (f->n < BLOCK_COLUMN_ROWS_MIN)
        return OK;
    rc = splitter_split(&c->splitter, rows, f->n, &fits, e);
    if (rc != OK || !fits)
        return rc;
    column_writer_reset(&c->columns);
    block_put_runs(c, rows, f->n);
    block_put_ids(c, rows, f->n);
    block_put_schemas(c, f->n);
    block_put_columns(c);
    block_join(c);
    if (c->columns.failed)
        return err_set(e, ERR_NOMEM, "encode a block");
    if (c->columns.body.n > block_packed_max(f->raw, f->n))
        return OK;
    return block_pack(c, level, f, e);
}

static int block_encode_rows(struct block_encoder *c, const struct block_row *rows, int level,
                             struct block_figures *f, struct err *e)
{
    uint8_t *p;

    f->layout = BLOCK_ROWS;
    column_writer_reset(&c->columns);
    block_put_runs(c, rows, f->n);
    block_put_lengths(c, rows, f->n);
    p = column_put_room(&c->columns, f->raw);
    if (p != NULL)
        block_copy_rows(p, rows, f->n);
    block_join(c);
    if (c->columns.failed)
        return err_set(e, ERR_NOMEM, "encode a block");
    return block_pack(c, level, f, e);
}

static int block_encode_plain(struct block_encoder *c, const struct block_row *rows,
                              struct block_figures *f, struct err *e)
{
    struct column_writer *w = &c->columns;
    uint8_t *p;

    f->layout = BLOCK_ROWS;
    f->codec = BLOCK_NONE;
    column_writer_reset(w);
    block_put_runs(c, rows, f->n);
    block_put_lengths(c, rows, f->n);
    f->packed = f->stored = w->body.n + f->raw + w->head.n + BLOCK_HEAD_LEN;
    if (w->failed || !block_encoder_out(c, BLOCK_HEADER_BYTES + f->stored))
        return err_set(e, ERR_NOMEM, "encode a block");
    p = c->out + BLOCK_HEADER_BYTES;
    bytes_copy(p, w->body.p, w->body.n);
    p = block_copy_rows(p + w->body.n, rows, f->n);
    bytes_copy(p, w->head.p, w->head.n);
    put_u32le(p + w->head.n, (uint32_t)w->head.n);
    return OK;
}

int block_encode(struct block_encoder *c, const struct block_row *rows, size_t n,
                 enum block_codec codec, int level, struct slice *out, struct err *e)
{
    struct block_figures f = { .n = n, .codec = codec };
    int rc = OK;

    assert(n > 0 && n <= BLOCK_ROWS_MAX);
    for (size_t i = 0; i < n; i++)
        f.raw += rows[i].len;
    if (f.raw > BLOCK_RAW_MAX)
        return err_set(e, ERR_TOO_BIG, "a block of %zu bytes", f.raw);
    block_encoder_shrink(c);
    if (codec != BLOCK_NONE)
        rc = block_encode_columns(c, rows, level, &f, e);
    if (rc == OK && codec != BLOCK_NONE && f.packed == 0)
        rc = block_encode_rows(c, rows, level, &f, e);
    if (rc == OK && f.stored == 0)
        rc = block_encode_plain(c, rows, &f, e);
    if (rc != OK)
        return rc;
    block_header(c->out, &f);
    *out = slice_of(c->out, BLOCK_HEADER_BYTES + f.stored);
    return OK;
}

static uint32_t block_crc(const uint8_t *p, size_t n, uint64_t salt, uint32_t block_no)
{
    uint8_t place[12];

    put_u64le(place, salt);
    put_u32le(place + 8, block_no);
    return crc32c(crc32c(0, place, sizeof place), p + 4, n - 4);
}

void block_stamp(uint8_t *p, size_t n, uint64_t salt, uint32_t block_no)
{
    put_u32le(p, block_crc(p, n, salt, block_no));
}

/* ---- reading ---- */

struct block_schema {
    size_t first, n; /* of block_decoder.names */
    size_t n_rows;
    struct slice text; /* the number of fields as in the rows */
};

struct block_buffer {
    uint8_t *p;
    size_t cap;
};

struct block_decoder {
    struct codec_reader *codec;
    struct block_buffer packed, words;
    uint32_t word_offsets[COLUMN_WORDS_MAX + 1];
    struct column_words dictionary;
    struct column_numbers ms, seq, schema_of;
    struct column columns[SPLITTER_FIELDS_MAX];
    struct slice names
        [SPLITTER_FIELDS_MAX]; /* each as in a row; a schema's first with the number of fields in front */
    size_t n_schemas;
    struct block_schema schemas[SPLITTER_SCHEMAS_MAX];
};

struct block_decoder *block_decoder_new(void)
{
    struct block_decoder *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->codec = codec_reader_new();
    if (c->codec == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

void block_decoder_free(struct block_decoder *c)
{
    if (c == NULL)
        return;
    codec_reader_free(c->codec);
    free(c->packed.p);
    free(c->words.p);
    free(c);
}

static bool block_buffer_room(struct block_buffer *b, size_t n)
{
    if (n <= b->cap)
        return true;
    free(b->p);
    b->p = malloc(n);
    b->cap = b->p != NULL ? n : 0;
    return b->p != NULL;
}

static void block_buffer_shrink(struct block_buffer *b)
{
    if (b->cap <= BLOCK_KEEP_BYTES)
        return;
    free(b->p);
    *b = (struct block_buffer){ 0 };
}

struct block *block_ref(struct block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void block_unref(struct block *b)
{
    if (b != NULL && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        free(b);
}

static bool block_is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

int block_verify(const uint8_t *p, size_t n, uint64_t salt, uint32_t block_no,
                 struct block_head *out, struct err *e)
{
    struct block_head h;

    if (n < BLOCK_HEADER_BYTES)
        return err_set(e, ERR_CORRUPT, "a block is cut short");
    if (get_u32le(p) != block_crc(p, n, salt, block_no))
        return err_set(e, ERR_CORRUPT, "a block's checksum is wrong");
    h.stored_bytes = get_u32le(p + 4);
    h.raw_bytes = get_u32le(p + 8);
    h.n = get_u32le(p + 16);
    if (h.stored_bytes != n - BLOCK_HEADER_BYTES || h.raw_bytes > BLOCK_RAW_MAX || h.n == 0 ||
        h.n > BLOCK_ROWS_MAX || h.n > h.raw_bytes / BLOCK_ENTRY_MIN)
        return err_set(e, ERR_CORRUPT, "a block's sizes are wrong");
    if (p[20] >= BLOCK_N_CODECS || p[21] >= BLOCK_N_LAYOUTS ||
        !block_is_zero(p + 22, BLOCK_HEADER_BYTES - 22))
        return err_set(e, ERR_CORRUPT, "a block's codec or layout is unknown");
    h.codec = p[20];
    *out = h;
    return OK;
}

/* ---- the way back to rows ---- */

/* Splits the payload into body and head. */
static bool block_source(const uint8_t *p, size_t n, struct column_source *out)
{
    uint32_t head;

    if (n < BLOCK_HEAD_LEN)
        return false;
    n -= BLOCK_HEAD_LEN;
    head = get_u32le(p + n);
    if (head > n)
        return false;
    *out = (struct column_source){
        .body = p, .body_end = p + n - head, .head = p + n - head, .head_end = p + n
    };
    return true;
}

static struct block *block_new(const struct block_head *h, uint32_t n_runs)
{
    size_t runs = n_runs * sizeof(struct block_run), offsets = (h->n + 1) * sizeof(uint32_t);
    size_t memory = sizeof(struct block) + runs + offsets + h->raw_bytes + COLUMN_SLACK;
    struct block *b = malloc(memory);
    uint8_t *p;

    if (b == NULL)
        return NULL;
    p = (uint8_t *)(b + 1);
    *b = (struct block){ .memory = memory,
                         .n = h->n,
                         .n_runs = n_runs,
                         .runs = (struct block_run *)(void *)p,
                         .offsets = (uint32_t *)(void *)(p + runs),
                         .data = p + runs + offsets };
    atomic_init(&b->refs, 1);
    return b;
}

/* B1 for the streams. */
static bool block_get_runs(struct column_source *s, struct block *b)
{
    struct block_run *runs = (struct block_run *)(uintptr_t)b->runs;
    struct column_numbers oids, counts;
    uint64_t n, first = 0;

    if (!column_get_numbers(s, b->n_runs, &oids) || !column_get_numbers(s, b->n_runs, &counts))
        return false;
    for (uint32_t i = 0; i < b->n_runs; i++) {
        n = column_number(&counts);
        runs[i].oid = column_number(&oids);
        runs[i].first = (uint32_t)first;
        runs[i].n = (uint32_t)n;
        if (n == 0 || n > b->n - first || (i > 0 && runs[i].oid <= runs[i - 1].oid))
            return false;
        first += n;
    }
    return first == b->n;
}

/* The rows are there; B1 for their IDs, and B2. */
static bool block_get_rows(struct column_source *s, struct block *b, uint8_t *data, size_t raw)
{
    uint32_t *offsets = (uint32_t *)(uintptr_t)b->offsets;
    struct column_numbers lengths;
    const uint8_t *rows;
    size_t at = 0;

    if (!column_get_numbers(s, b->n, &lengths))
        return false;
    rows = column_get_bytes(s, raw);
    if (rows == NULL)
        return false;
    memcpy(data, rows, raw);
    for (uint32_t run = 0; run < b->n_runs; run++) {
        struct id before = ID_MIN, id;
        for (uint32_t i = 0; i < b->runs[run].n; i++) {
            uint64_t len = column_number(&lengths);
            if (len > raw - at || !entry_check(data + at, data + at + len, &id) ||
                (i > 0 && id_cmp(id, before) <= 0))
                return false;
            offsets[b->runs[run].first + i] = (uint32_t)at;
            at += (size_t)len;
            before = id;
        }
    }
    offsets[b->n] = (uint32_t)at;
    return at == raw;
}

/* `n, names` of each schema, out of the head, where they are as in a row. */
static bool block_get_schemas(struct block_decoder *c, struct column_source *s)
{
    size_t n_names = 0;
    uint64_t n_schemas, n;
    struct slice name;

    if (!column_get_head(s, &n_schemas) || n_schemas == 0 || n_schemas > SPLITTER_SCHEMAS_MAX)
        return false;
    c->n_schemas = (size_t)n_schemas;
    for (size_t i = 0; i < n_schemas; i++) {
        struct block_schema *schema = &c->schemas[i];
        const uint8_t *from = s->head;
        if (!column_get_head(s, &n) || n > SPLITTER_FIELDS_MAX - n_names)
            return false;
        *schema = (struct block_schema){ .first = n_names, .n = (size_t)n };
        schema->text = slice_of(from, (size_t)(s->head - from));
        for (uint64_t k = 0; k < n; k++) {
            if (!slice_get(&s->head, s->head_end, &name))
                return false;
            c->names[n_names++] = slice_of(from, (size_t)(s->head - from));
            from = s->head;
        }
    }
    return true;
}

static bool block_get_columns(struct block_decoder *c, struct column_source *s, size_t n,
                              size_t raw)
{
    struct column_numbers numbers;

    if (!column_get_numbers(s, n, &c->ms) || !column_get_numbers(s, n, &c->seq) ||
        !block_get_schemas(c, s) || !column_get_numbers(s, n, &c->schema_of))
        return false;
    numbers = c->schema_of;
    for (size_t i = 0; i < n; i++) {
        uint64_t schema = column_number(&numbers);
        if (schema >= c->n_schemas)
            return false;
        c->schemas[schema].n_rows++;
    }
    for (size_t i = 0; i < c->n_schemas; i++) {
        struct column *columns = c->columns + c->schemas[i].first;
        for (size_t k = 0; k < c->schemas[i].n; k++) {
            if (!column_get_values(s, c->schemas[i].n_rows, &columns[k]))
                return false;
            columns[k].words = &c->dictionary;
        }
    }
    return column_get_words(s, COLUMN_WORDS_MAX, c->words.p, raw, c->word_offsets, &c->dictionary);
}

/* Writes the fields of a row; NULL if that is damaged. */
static uint8_t *block_put_fields(struct block_decoder *c, const struct block_schema *s, uint8_t *p,
                                 const uint8_t *end)
{
    const struct slice *names = c->names + s->first;
    struct column *columns = c->columns + s->first;

    if (s->n == 0) {
        if (p > end || s->text.n > (size_t)(end - p))
            return NULL;
        bytes_copy(p, s->text.p, s->text.n);
        return p + s->text.n;
    }
    for (size_t i = 0; i < s->n; i++) {
        if (p > end || names[i].n > (size_t)(end - p))
            return NULL;
        bytes_copy(p, names[i].p, names[i].n);
        p = column_next(&columns[i], p + names[i].n, end);
        if (p == NULL)
            return NULL;
    }
    return p;
}

static bool block_put_rows(struct block_decoder *c, struct block *b, uint8_t *data, size_t raw)
{
    uint32_t *offsets = (uint32_t *)(uintptr_t)b->offsets;
    const uint8_t *end = data + raw;
    uint8_t *p = data;

    for (uint32_t run = 0; run < b->n_runs; run++) {
        struct id before = ID_MIN, id;
        for (uint32_t i = 0; i < b->runs[run].n; i++) {
            id.ms = column_number(&c->ms);
            id.seq = column_number(&c->seq);
            if (i > 0 && id.ms == before.ms)
                id.seq += before.seq + 1;
            if (p > end || (i > 0 && id_cmp(id, before) <= 0))
                return false;
            offsets[b->runs[run].first + i] = (uint32_t)(p - data);
            p = block_put_fields(c, &c->schemas[column_number(&c->schema_of)], id_put(p, id), end);
            if (p == NULL)
                return false;
            before = id;
        }
    }
    offsets[b->n] = (uint32_t)raw;
    return p == end;
}

static int block_unpack(struct block_decoder *c, const uint8_t *p, const struct block_head *h,
                        struct column_source *out, struct err *e)
{
    uint64_t packed = get_u32le(p + 12);
    int rc;

    if (packed > block_packed_max(h->raw_bytes, h->n) ||
        (h->codec == BLOCK_NONE && packed != h->stored_bytes))
        return err_set(e, ERR_CORRUPT, "a block's sizes are wrong");
    p += BLOCK_HEADER_BYTES;
    if (h->codec != BLOCK_NONE) {
        if (!block_buffer_room(&c->packed, (size_t)packed))
            return err_set(e, ERR_NOMEM, "decode a block");
        rc = codec_unpack(c->codec, h->codec, p, h->stored_bytes, c->packed.p, (size_t)packed, e);
        if (rc != OK)
            return rc;
        p = c->packed.p;
    }
    if (!block_source(p, (size_t)packed, out))
        return err_set(e, ERR_CORRUPT, "a block's head is damaged");
    return OK;
}

static int block_fill(struct block_decoder *c, enum block_layout layout, struct column_source *s,
                      struct block *b, size_t raw, struct err *e)
{
    uint8_t *data = (uint8_t *)(uintptr_t)b->data;
    bool sound = block_get_runs(s, b);

    if (layout == BLOCK_ROWS) {
        sound = sound && block_get_rows(s, b, data, raw);
    } else {
        if (!block_buffer_room(&c->words, raw + COLUMN_SLACK))
            return err_set(e, ERR_NOMEM, "decode a block");
        sound = sound && block_get_columns(c, s, b->n, raw) && block_put_rows(c, b, data, raw);
    }
    if (!sound || s->head != s->head_end || s->body != s->body_end)
        return err_set(e, ERR_CORRUPT, "a block's rows are damaged");
    return OK;
}

int block_decode(struct block_decoder *c, const uint8_t *p, size_t n, uint64_t salt,
                 uint32_t block_no, struct block **out, struct err *e)
{
    struct column_source s;
    struct block_head h;
    struct block *b;
    uint64_t n_runs;
    int rc = block_verify(p, n, salt, block_no, &h, e);

    if (rc != OK)
        return rc;
    block_buffer_shrink(&c->packed);
    block_buffer_shrink(&c->words);
    rc = block_unpack(c, p, &h, &s, e);
    if (rc != OK)
        return rc;
    if (!column_get_head(&s, &n_runs) || n_runs == 0 || n_runs > h.n)
        return err_set(e, ERR_CORRUPT, "a block's streams are damaged");
    b = block_new(&h, (uint32_t)n_runs);
    if (b == NULL)
        return err_set(e, ERR_NOMEM, "decode a block");
    rc = block_fill(c, p[21], &s, b, h.raw_bytes, e);
    if (rc != OK) {
        block_unref(b);
        return rc;
    }
    *out = b;
    return OK;
}

/* ---- searching ---- */

const struct block_run *block_find(const struct block *b, uint64_t oid)
{
    uint32_t from = 0, n = b->n_runs;

    while (n > 0) {
        uint32_t half = n / 2;
        if (b->runs[from + half].oid < oid) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from < b->n_runs && b->runs[from].oid == oid ? &b->runs[from] : NULL;
}

uint32_t block_seek(const struct block *b, const struct block_run *run, struct id id)
{
    uint32_t from = run->first, n = run->n;

    while (n > 0) {
        uint32_t half = n / 2;
        struct id at;
        entry_id(block_entry(b, from + half), &at);
        if (id_cmp(at, id) < 0) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from;
}
