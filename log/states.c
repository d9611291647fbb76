/* states.c - see states.h. */
#include "log/states.h"

void states_clear(struct states *s)
{
    for (size_t i = 0; i < s->n; i++) {
        delset_unref(s->states[i].deletes);
        s->states[i] = (struct log_stream_state){ 0 };
    }
    s->n = 0;
}
