/*
 * push.c - messages to clients, between their replies.
 *
 * A client has two places for them: behind its output, if no reply of its own is being made, else aside, until that reply is
 * over. A reply may be in the making because its command is executed right now, because its client is blocked and may be served
 * any moment, or because workers make it piece by piece.
 *
 * Whoever was sent something stands in the engine's list until the command has ended. Only then is it known what the messages
 * have to wait for: a message published inside an EXEC may be followed by records of the same batch, without which it must not be
 * heard of. So they get their marks there, all with the same needs.
 *
 *   command:   push_send  push_send  ...          engine_mark(reply)   push_settle: marks, and wakes who was sent something
 *
 * If workers make the client's reply, it waits in a second list, which is looked at when a round ends.
 *
 *   P1  A client is in one of the lists while it has been sent something that has no mark yet, or has something aside.
 *   P2  Behind its last mark a client's output has nothing but messages when push_settle is called, unless a reply is being made,
 *       and then messages go aside.
 *   P3  A client that is beyond the hard limit of its class gets no message; client.over_limit says that it lacks some, so it is
 *       never served again.
 */
#include "broker/engine/push.h"
#include <assert.h>
#include <stdio.h>
#include "broker/engine/engine.h"

/* ---- encoding ---- */

enum { PUSH_HEAD_MAX = 32 }; /* type byte, digits, CR LF and a zero */

static size_t push_head_size(size_t n)
{
    size_t size = 4;

    for (; n >= 10; n /= 10)
        size++;
    return size;
}

static uint8_t *push_put_head(uint8_t *p, char type, size_t n)
{
    char head[PUSH_HEAD_MAX];
    int len = snprintf(head, sizeof head, "%c%zu\r\n", type, n);

    memcpy(p, head, (size_t)len);
    return p + len;
}

static size_t push_bulks_size(const struct slice *at, size_t n)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += push_head_size(at[i].n) + at[i].n + 2;
    return size;
}

static uint8_t *push_put_bulks(uint8_t *p, const struct slice *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p = push_put_head(p, '$', at[i].n);
        if (at[i].n > 0)
            memcpy(p, at[i].p, at[i].n);
        p += at[i].n;
        *p++ = '\r';
        *p++ = '\n';
    }
    return p;
}

static const char *push_null(int proto)
{
    return proto >= 3 ? "_\r\n" : "$-1\r\n";
}

static size_t push_n(const struct push *p)
{
    return p->n_words + (p->with != PUSH_NOTHING);
}

static size_t push_size(const struct push *p, int proto)
{
    size_t size = push_head_size(push_n(p)) + push_bulks_size(p->words, p->n_words);

    if (p->with == PUSH_LIST)
        size += push_head_size(p->n_list) + push_bulks_size(p->list, p->n_list);
    else if (p->with == PUSH_NULL)
        size += strlen(push_null(proto));
    else if (p->with == PUSH_NUMBER)
        size += push_head_size(p->number);
    return size;
}

static struct outbuf_shared *push_encode(const struct push *p, int proto)
{
    struct outbuf_shared *s = outbuf_shared_new(push_size(p, proto));
    uint8_t *at;

    if (s == NULL)
        return NULL;
    at = push_put_head(s->bytes, proto >= 3 ? '>' : '*', push_n(p));
    at = push_put_bulks(at, p->words, p->n_words);
    if (p->with == PUSH_LIST) {
        at = push_put_bulks(push_put_head(at, '*', p->n_list), p->list, p->n_list);
    } else if (p->with == PUSH_NULL) {
        memcpy(at, push_null(proto), strlen(push_null(proto)));
        at += strlen(push_null(proto));
    } else if (p->with == PUSH_NUMBER) {
        at = push_put_head(at, ':', p->number);
    }
    assert(at == s->bytes + s->n);
    return s;
}

void push_over(struct push *p)
{
    outbuf_shared_unref(p->encoded[0]);
    outbuf_shared_unref(p->encoded[1]);
    p->encoded[0] = p->encoded[1] = NULL;
}

/* ---- sending ---- */

static void push_list_in(struct client **head, struct client *c)
{
    c->push_next = *head;
    c->push_at = head;
    if (c->push_next != NULL)
        c->push_next->push_at = &c->push_next;
    *head = c;
}

static void push_unlist(struct client *c)
{
    if (c->push_at == NULL)
        return;
    *c->push_at = c->push_next;
    if (c->push_next != NULL)
        c->push_next->push_at = c->push_at;
    c->push_at = NULL;
}

/* Whether a reply to the client is in the making, or may be begun before the command ends. */
static bool push_must_wait(const struct engine *e, const struct client *c)
{
    return c == e->current || c->blocked != NULL || c->cold != NULL;
}

/* P3: before the end of the round, since one command may publish any number of messages. */
static bool push_has_room(struct client *c)
{
    uint64_t max = engine_output_limit(c)->hard_bytes;

    if (max > 0 && c->out.memory + c->aside.memory > max)
        c->over_limit = true;
    return !c->over_limit && !c->close_now;
}

void push_send_as(struct engine *e, struct client *c, struct push *p, int proto)
{
    struct outbuf_shared **encoded = &p->encoded[proto >= 3];
    struct outbuf *out = push_must_wait(e, c) || outbuf_size(&c->aside) > 0 ? &c->aside : &c->out;

    push_unlist(c);
    push_list_in(&e->pushed, c);
    if (!push_has_room(c))
        return;
    if (*encoded == NULL)
        *encoded = push_encode(p, proto);
    if (*encoded == NULL)
        outbuf_fail(out);
    else
        outbuf_share(out, *encoded);
}

void push_send(struct engine *e, struct client *c, struct push *p)
{
    push_send_as(e, c, p, c->proto);
}

/* ---- the end of a command ---- */

/* What the client was sent goes behind its output, and gets its mark; P2. */
static void push_mark(struct engine *e, struct client *c, uint64_t need_written)
{
    if (outbuf_size(&c->aside) > 0 || c->aside.failed)
        outbuf_move(&c->out, &c->aside);
    engine_mark_output(e, c, need_written, c->push_durable);
    c->push_durable = 0;
    engine_wake(e, c);
}

void push_settle(struct engine *e, uint64_t need_durable)
{
    uint64_t need_written = e->pushed == NULL ? 0 : log_last_lsn(e->log);
    struct client *c;

    while ((c = e->pushed) != NULL) {
        push_unlist(c);
        if (c->push_durable < need_durable)
            c->push_durable = need_durable;
        if (c->cold != NULL)
            push_list_in(&e->push_held, c); /* its reply may be half made */
        else
            push_mark(e, c, need_written);
    }
}

void push_settle_all(struct engine *e, uint64_t need_durable)
{
    struct client *c = e->push_held;

    push_settle(e, need_durable);
    while (c != NULL) { /* those that were put in front since are held anew */
        struct client *next = c->push_next;
        if (c->cold == NULL) {
            push_unlist(c);
            push_mark(e, c, log_last_lsn(e->log));
        }
        c = next;
    }
}

void push_client_gone(struct client *c)
{
    push_unlist(c);
    outbuf_fini(&c->aside);
}
