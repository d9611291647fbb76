/* states.c - see states.h. */
#include "log/states.h"
#include <assert.h>
#include <string.h>

void states_count_changes(struct states *s, uint64_t first, uint64_t last)
{
    s->changes.asked = true;
    s->changes.first = first;
    s->changes.last = last;
}

void states_ask_changes(struct states *s, uint64_t first, uint64_t end)
{
    assert(first < end);
    first -= first % 64; /* so whole words are copied */
    states_count_changes(s, first,
                         end - first > STATES_CHANGES ? first + STATES_CHANGES - 1 : end - 1);
}

void states_answer_changes(struct states *s, const struct log_host *h)
{
    struct states_changes *c = &s->changes;
    uint64_t n = c->last - c->first + 1;

    c->asked = false;
    c->n = h->count_changes == NULL ? 0 : h->count_changes(h->ctx, c->first, c->last);
    if (n > STATES_CHANGES)
        return;
    if (c->n > 0 && h->live_changes != NULL)
        h->live_changes(h->ctx, c->first, n, c->bits);
    else
        memset(c->bits, 0, sizeof c->bits);
}

uint64_t states_n_live_changes(const struct states *s, uint64_t first, uint64_t last)
{
    uint64_t from = first - s->changes.first, end = last - s->changes.first + 1, n = 0;

    while (from < end) {
        uint64_t next = (from / 64 + 1) * 64, word = s->changes.bits[from / 64] >> from % 64;
        if (next > end)
            word &= (1ull << (end - from)) - 1;
        n += (uint64_t)__builtin_popcountll(word);
        from = next;
    }
    return n;
}

void states_clear(struct states *s)
{
    for (size_t i = 0; i < s->n; i++) {
        delset_unref(s->states[i].deletes);
        s->states[i] = (struct log_stream_state){ 0 };
    }
    s->n = 0;
}
