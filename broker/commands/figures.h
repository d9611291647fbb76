/* figures.h - what there is to know about the log and what is stored, for BECK LOG and INFO: one list for both. */
#ifndef BROKER_COMMANDS_FIGURES_H
#define BROKER_COMMANDS_FIGURES_H
#include <stddef.h>
#include <stdint.h>
#include "broker/engine/engine.h"

enum figure_kind { FIGURE_NUMBER, FIGURE_RATIO, FIGURE_TEXT };

struct figure {
    const char *name; /* "segment_bytes" */
    enum figure_kind kind;
    uint64_t number;
    double ratio;
    const char *text; /* in the struct figures */
};

enum { FIGURES_MAX = 96 };

struct figures {
    size_t n;
    struct figure at[FIGURES_MAX];
    char uuid[33], job_error[200], retention_error[200];
};

/* Gathers them; does not wait for anything. */
void figures_get(const struct engine *e, struct figures *out);

#endif
