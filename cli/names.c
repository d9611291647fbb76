/* names.c - see names.h. SCAN walks the keyspace. */
#include "cli/names.h"

#include <stdio.h>

#include "cli/cli.h"

/* Takes over the names of one page of SCAN instead of those before. */
static void names_take(struct list *names, const struct beck_reply *page)
{
    const struct beck_reply *at = beck_reply_first(page);

    list_clear(names);
    for (size_t n = beck_reply_count(page); n > 0; n--) {
        list_add(names, beck_reply_string(at));
        at = n > 1 ? beck_reply_next(at) : at;
    }
}

int names_scan(struct cli *cli, const char *type, const char *pattern,
               int (*each)(void *context, const struct list *page), void *context)
{
    struct list names = { 0 };
    char cursor[24] = "0";
    int status = EXIT_OK;

    do {
        struct beck_slice args[] = { beck_str("SCAN"),  beck_str(cursor),
                                     beck_str("COUNT"), beck_str("1000"),
                                     beck_str("MATCH"), beck_str(pattern),
                                     beck_str("TYPE"),  beck_str(type != NULL ? type : "") };
        const struct beck_reply *reply, *page;
        int rc = cli_call(cli, args, type != NULL ? 8 : 6, &reply);
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
    list_fini(&names);
    return status;
}
