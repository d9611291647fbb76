/* gate.h - which part of a client's output may leave: a reply goes when what it tells is safe.
 *
 * Each mark says "bytes up to `end` need these watermarks". Marks are in connection order, and a reply waits
 * for those before it, so needs only grow: gate_mark raises them to the running maximum. */
#ifndef BROKER_NET_GATE_H
#define BROKER_NET_GATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gate_mark {
    uint64_t end;          /* position in the outbuf */
    uint64_t need_written; /* LSN that log_released_lsn must have reached */
    uint64_t need_durable; /* LSN that log_durable_lsn must have reached */
};

struct gate {
    struct gate_mark *marks; /* ring: live ones are [first, first + n) modulo cap, a power of two */
    uint32_t first, n, cap;
    uint64_t need_written, need_durable; /* running maximum */
    uint64_t open_end;                   /* bytes up to here may leave */
    bool failed;                         /* memory ran out: close the connection */
};

void gate_init(struct gate *g);
void gate_fini(struct gate *g);

/* Bytes up to `end` of the output have been produced and need those watermarks. */
void gate_mark(struct gate *g, uint64_t end, uint64_t need_written, uint64_t need_durable);

/* Pops the marks that the watermarks have passed; returns the position up to which bytes may leave. */
uint64_t gate_open(struct gate *g, uint64_t released, uint64_t durable);

/* Whether something waits for a watermark. */
static inline bool gate_waits(const struct gate *g)
{
    return g->n > 0;
}

#endif
