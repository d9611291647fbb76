/*
 * beck_log.c - BECK LOG: the log's figures as a map, for programs. INFO has the same ones as text in its section "log"
 * (figures.c).
 */
#include "broker/commands/beck.h"
#include "broker/commands/figures.h"
#include "broker/engine/reply.h"

void beck_log(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct figures f;

    (void)argv;
    (void)argc;
    figures_get(e, &f);
    reply_map(c, f.n);
    for (size_t i = 0; i < f.n; i++) {
        reply_str(c, f.at[i].name);
        switch (f.at[i].kind) {
        case FIGURE_NUMBER: reply_u64(c, f.at[i].number); break;
        case FIGURE_RATIO: reply_double(c, f.at[i].ratio); break;
        case FIGURE_TEXT: reply_str(c, f.at[i].text); break;
        }
    }
}
