/* names.c - see names.h. SCAN with TYPE stream walks the keyspace. */
#include "cli/names.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

void names_fini(struct names *names)
{
    text_fini(&names->bytes);
    free(names->ends);
    memset(names, 0, sizeof *names);
}

void names_add(struct names *names, struct beck_slice name)
{
    struct text ends = { (char *)names->ends, names->n * sizeof *names->ends,
                         names->cap * sizeof *names->ends };

    text_put_slice(&names->bytes, name);
    text_put(&ends, (const char *)&names->bytes.n, sizeof names->bytes.n);
    names->ends = (size_t *)(void *)ends.p;
    names->cap = ends.cap / sizeof *names->ends;
    names->n++;
}

struct beck_slice names_at(const struct names *names, size_t i)
{
    size_t from = i > 0 ? names->ends[i - 1] : 0;

    return beck_bytes(names->bytes.p + from, names->ends[i] - from);
}

/* Takes over the names of one page of SCAN instead of those before. */
static void names_take(struct names *names, const struct beck_reply *page)
{
    const struct beck_reply *at = beck_reply_first(page);

    names->bytes.n = 0;
    names->n = 0;
    for (size_t n = beck_reply_count(page); n > 0; n--) {
        names_add(names, beck_reply_string(at));
        at = n > 1 ? beck_reply_next(at) : at;
    }
}

int names_scan(struct cli *cli, const char *pattern,
               int (*each)(void *context, const struct names *page), void *context)
{
    struct names names = { 0 };
    char cursor[24] = "0";
    int status = EXIT_OK;

    do {
        struct beck_slice args[] = { beck_str("SCAN"),   beck_str(cursor),  beck_str("TYPE"),
                                     beck_str("stream"), beck_str("COUNT"), beck_str("1000"),
                                     beck_str("MATCH"),  beck_str(pattern) };
        const struct beck_reply *reply, *page;
        int rc = cli_call(cli, args, 8, &reply);
        if (rc != BECK_OK) {
            status = cli_fail(cli, rc, NULL);
            break;
        }
        page = beck_reply_at(reply, 1);
        if (page == NULL)
            break;
        snprintf(cursor, sizeof cursor, "%s", beck_reply_string(beck_reply_at(reply, 0)).p);
        names_take(&names, page);
        status = each(context, &names);
    } while (status == EXIT_OK && strcmp(cursor, "0") != 0);
    names_fini(&names);
    return status;
}
