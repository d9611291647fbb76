/*
 * worker.c - `beck consume --group`: see worker.h.
 *
 * Entries come in batches (XREADGROUP); a batch is copied, since its entries are worked on between
 * further commands. With --exec a batch is one entry unless --batch says otherwise: what waits
 * behind a slow command is of more use to another consumer.
 *
 *   W1  An entry is acknowledged only after it was printed and stdout has taken it, or after its
 *       command has ended with 0. So a crash at any moment repeats entries and loses none.
 *   W2  `ids` and `lines` from `at` on are entries that nobody has begun to work on. At every end
 *       that leaves time for it they are given back: XNACK SILENT.
 *   W3  `acks` are IDs that are done and whose XACK has not been answered. They are sent again over
 *       a new connection, before anything is read there.
 *
 * Acknowledgements go along with the next XREADGROUP, so a batch costs one round trip. With --exec
 * they go at once: the next command may take long.
 *
 * A consumer whose name was given begins with what is pending under it (its history), as it may
 * have been started again. After a lost connection every consumer does, since a batch may have been
 * on its way: what is done is acknowledged by then (W3), so the history is what was never seen.
 * With manual acknowledgement the history begins behind what was printed last.
 *
 * An XNACK counts, so it is not simply sent again when the connection is lost before its answer:
 * only for entries that are still pending under our name.
 *
 * A signal ends a wait for entries by CLIENT UNBLOCK from a second connection. The answer that then
 * comes may be a batch all the same, which is given back; closing the connection instead would
 * leave it pending under our name.
 */
#include "cli/worker.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/groups.h"
#include "cli/list.h"
#include "cli/output.h"

enum {
    BATCH = 100,
    BLOCK_MS = 5000, /* of one wait, so that a server that has died is noticed */
    PAUSE_MS = 100,  /* between attempts to connect: at first, */
    PAUSE_MAX_MS = 2000,
    TEMPORARY = 75, /* EX_TEMPFAIL of sysexits.h */
    WORDS_MAX = 16,
    OWN_NAME_MAX = 256
};

struct worker {
    struct cli *cli;
    const struct worker_options *options;
    struct beck_slice stream, group;
    const char *consumer;
    char own_name[OWN_NAME_MAX]; /* of a consumer that was given none */
    char connection[24];         /* its CLIENT ID */
    struct output out;
    struct list ids, lines; /* the batch */
    size_t at;              /* W2 */
    struct list acks;       /* W3 */
    struct text line;
    char history[WHEN_ID_MAX]; /* what is pending is read behind it; empty: new entries are read */
    char shown[WHEN_ID_MAX];   /* the greatest ID that was printed */
    char claimed[WHEN_ID_MAX]; /* where XAUTOCLAIM goes on */
    uint64_t batch, done, n_failed;
    double idle_since; /* when the last entry was done */
    int signal;        /* that has come; 0: none */
    bool blocked;      /* the reply that is waited for may take as long as the server likes */
    bool paused;       /* the server has been told of as not serving */
    bool refused;      /* the server will not do what we ask: nothing more is asked */
    bool lacks_claim, lacks_nack; /* an older server */
};

/* ---- Talking to the server ---- */

static void worker_note_signal(struct worker *w, int signal)
{
    if (signal == 0)
        return;
    w->signal = signal;
    cli_finish_quietly(w->cli);
}

/* Ends the wait of our connection, by another one. If that fails the wait ends by itself. */
static void worker_unblock(struct worker *w)
{
    struct beck_slice args[] = { beck_str("CLIENT"), beck_str("UNBLOCK"), beck_str(w->connection) };
    const struct beck_reply *reply;
    struct beck_client *other = NULL;

    if (w->connection[0] != '\0' && beck_client_new(w->cli->conf, &other) == BECK_OK &&
        beck_client_connect(other) == BECK_OK &&
        beck_client_call(other, args, 3, &reply) != BECK_OK)
        cli_message(w->cli, "the wait could not be ended at once: %s", beck_last_error(other));
    beck_client_free(other);
}

/* The next reply, whatever signals come meanwhile. */
static int worker_receive(struct worker *w, const struct beck_reply **out)
{
    int rc = beck_client_receive(w->cli->client, out);

    while (rc == BECK_ERR_INTERRUPTED) {
        worker_note_signal(w, cli_signal(w->cli));
        if (w->blocked)
            worker_unblock(w);
        w->blocked = false;
        rc = beck_client_receive(w->cli->client, out);
    }
    return rc;
}

static int worker_call(struct worker *w, const struct beck_slice *args, size_t n,
                       const struct beck_reply **out)
{
    int rc = beck_client_append(w->cli->client, args, n);

    return rc == BECK_OK ? worker_receive(w, out) : rc;
}

/* Waits, or for a signal. */
static void worker_pause(struct worker *w, int ms)
{
    struct pollfd fd = { .fd = w->cli->signal_fd, .events = POLLIN };

    if (w->signal == 0 && poll(&fd, 1, ms) > 0)
        worker_note_signal(w, cli_signal(w->cli));
}

/* What CLIENT UNBLOCK needs; without it a wait ends by its time. */
static void worker_learn_connection(struct worker *w)
{
    struct beck_slice args[] = { beck_str("CLIENT"), beck_str("ID") };
    const struct beck_reply *reply;

    w->connection[0] = '\0';
    if (worker_call(w, args, 2, &reply) == BECK_OK)
        snprintf(w->connection, sizeof w->connection, "%" PRId64, beck_reply_integer(reply));
}

/* Whether a new connection may help. */
static bool worker_is_lost(int rc)
{
    return rc == BECK_ERR_CLOSED || rc == BECK_ERR_IO || rc == BECK_ERR_TIMEOUT ||
           rc == BECK_ERR_TOO_BIG || rc == BECK_ERR_CONNECT;
}

/* After a lost connection: EXIT_OK over a new one, or the status to end with. Once a signal has
 * come there is one attempt only. */
static int worker_reconnect(struct worker *w, int rc)
{
    int pause_ms = PAUSE_MS;

    if (rc == BECK_ERR_TOO_BIG && w->batch == 1)
        return cli_fail(w->cli, rc, NULL);
    if (rc == BECK_ERR_TOO_BIG)
        w->batch = w->batch > 16 ? w->batch / 16 : 1;
    else
        cli_message(w->cli, "%s; trying again", beck_last_error(w->cli->client));
    w->blocked = false;
    for (;;) {
        rc = beck_client_connect(w->cli->client);
        if (rc == BECK_OK)
            break;
        if (rc == BECK_ERR_INTERRUPTED)
            worker_note_signal(w, cli_signal(w->cli));
        else if (!beck_last_error_retriable(w->cli->client) || w->signal != 0)
            return cli_fail(w->cli, rc, NULL);
        worker_pause(w, pause_ms);
        pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
    }
    worker_learn_connection(w);
    if (w->options->ack != WORKER_ACK_NONE)
        snprintf(w->history, sizeof w->history, "%s",
                 w->options->ack == WORKER_ACK_MANUAL ? w->shown : "0-0");
    return EXIT_OK;
}

/* A reply was an error. EXIT_OK if there is a connection and the command may be sent again. */
static int worker_failed(struct worker *w, int rc)
{
    const char *text = beck_last_error(w->cli->client);

    if (worker_is_lost(rc))
        return worker_reconnect(w, rc);
    if (rc == BECK_ERR_SERVER && beck_last_error_retriable(w->cli->client) && w->signal == 0) {
        if (!w->paused)
            cli_message(w->cli, "%s; trying again", text);
        w->paused = true;
        worker_pause(w, PAUSE_MAX_MS);
        return EXIT_OK;
    }
    w->refused = true;
    if (rc == BECK_ERR_SERVER && strncmp(text, "NOGROUP", 7) == 0)
        return groups_none(w->cli, w->stream, w->group);
    return cli_fail(w->cli, rc, NULL);
}

/* ---- Telling what became of entries ---- */

/* XACK for `acks`, put on its way. */
static int worker_append_acks(struct worker *w)
{
    struct beck_slice *args = calloc(w->acks.n + 3, sizeof *args);
    int rc;

    if (args == NULL)
        return BECK_ERR_NOMEM;
    args[0] = beck_str("XACK");
    args[1] = w->stream;
    args[2] = w->group;
    for (size_t i = 0; i < w->acks.n; i++)
        args[3 + i] = list_at(&w->acks, i);
    rc = beck_client_append(w->cli->client, args, w->acks.n + 3);
    free(args);
    return rc;
}

static int worker_receive_acks(struct worker *w)
{
    const struct beck_reply *reply;
    int rc = worker_receive(w, &reply);

    if (rc == BECK_OK)
        list_clear(&w->acks);
    return rc;
}

/* Has all that is done acknowledged. */
static int worker_acknowledge(struct worker *w)
{
    int status = EXIT_OK;

    while (w->acks.n > 0 && status == EXIT_OK) {
        int rc = worker_append_acks(w);
        if (rc == BECK_OK)
            rc = worker_receive_acks(w);
        if (rc != BECK_OK)
            status = worker_failed(w, rc);
    }
    return status;
}

/* Leaves of `ids` those that are still pending under our name. */
static int worker_keep_own(struct worker *w, struct list *ids)
{
    struct list own = { 0 };
    int rc = BECK_OK;

    for (size_t i = 0; i < ids->n && rc == BECK_OK; i++) {
        struct beck_slice id = list_at(ids, i);
        struct beck_slice args[] = {
            beck_str("XPENDING"), w->stream, w->group, id, id, beck_str("1"), beck_str(w->consumer)
        };
        const struct beck_reply *reply;
        rc = worker_call(w, args, 7, &reply);
        if (rc == BECK_OK && beck_reply_count(reply) > 0)
            list_add(&own, id);
    }
    if (rc == BECK_OK) {
        struct list old = *ids;
        *ids = own;
        own = old;
    }
    list_fini(&own);
    return rc;
}

static int worker_send_nack(struct worker *w, const struct list *ids, const char *mode)
{
    struct beck_slice *args = calloc(ids->n + 6, sizeof *args);
    const struct beck_reply *reply;
    char count[24];
    int rc;

    if (args == NULL)
        return BECK_ERR_NOMEM;
    args[0] = beck_str("XNACK");
    args[1] = w->stream;
    args[2] = w->group;
    args[3] = beck_str(mode);
    args[4] = beck_str("IDS");
    args[5] = beck_bytes(count, (size_t)snprintf(count, sizeof count, "%zu", ids->n));
    for (size_t i = 0; i < ids->n; i++)
        args[6 + i] = list_at(ids, i);
    rc = worker_call(w, args, ids->n + 6, &reply);
    free(args);
    return rc;
}

/* Gives entries back to the group. `ids` may shrink. */
static int worker_nack(struct worker *w, struct list *ids, const char *mode)
{
    int status = EXIT_OK;
    bool again = false;

    while (ids->n > 0 && status == EXIT_OK && !w->lacks_nack) {
        int rc = again ? worker_keep_own(w, ids) : BECK_OK;
        if (rc == BECK_OK && ids->n > 0)
            rc = worker_send_nack(w, ids, mode);
        if (rc == BECK_OK)
            break;
        w->lacks_nack = rc == BECK_ERR_SERVER &&
                        strncmp(beck_last_error(w->cli->client), "ERR unknown command", 19) == 0;
        if (w->lacks_nack)
            cli_message(w->cli,
                        "the server has no XNACK: what is not done stays pending for %s, until "
                        "it is taken over (--claim-idle)",
                        w->consumer);
        else
            status = worker_failed(w, rc);
        again = true;
    }
    return status;
}

/* ---- Reading ---- */

/* How many entries to ask for. */
static uint64_t worker_want(const struct worker *w)
{
    uint64_t left = w->options->count - w->done;

    return w->options->count == 0 || left > w->batch ? w->batch : left;
}

/* How long this round may wait; 0: not at all. */
static int worker_block_ms(const struct worker *w)
{
    uint64_t most = BLOCK_MS, waited_ms = (uint64_t)((cli_now() - w->idle_since) * 1000);

    if (w->history[0] != '\0' || w->signal != 0)
        return 0;
    if (w->options->block_ms == OPTION_NOT_GIVEN && w->options->exit_empty)
        return 0;
    if (w->lacks_claim && w->options->claim_idle_ms < most) /* nothing wakes us then */
        most = w->options->claim_idle_ms > PAUSE_MS ? w->options->claim_idle_ms : PAUSE_MS;
    if (w->options->block_ms == OPTION_NOT_GIVEN)
        return (int)most;
    if (waited_ms >= w->options->block_ms)
        return 0;
    return w->options->block_ms - waited_ms < most ? (int)(w->options->block_ms - waited_ms)
                                                   : (int)most;
}

/* XREADGROUP, put on its way. */
static int worker_append_read(struct worker *w)
{
    struct beck_slice args[WORDS_MAX] = { beck_str("XREADGROUP"), beck_str("GROUP"), w->group,
                                          beck_str(w->consumer), beck_str("COUNT") };
    char count[24], block[24], idle[24];
    int block_ms = worker_block_ms(w);
    size_t n = 5;

    args[n++] =
        beck_bytes(count, (size_t)snprintf(count, sizeof count, "%" PRIu64, worker_want(w)));
    if (block_ms > 0) {
        args[n++] = beck_str("BLOCK");
        args[n++] = beck_bytes(block, (size_t)snprintf(block, sizeof block, "%d", block_ms));
    }
    if (w->options->claim_idle_ms != OPTION_NOT_GIVEN && !w->lacks_claim) {
        args[n++] = beck_str("CLAIM");
        args[n++] = beck_bytes(
            idle, (size_t)snprintf(idle, sizeof idle, "%" PRIu64, w->options->claim_idle_ms));
    }
    if (w->options->ack == WORKER_ACK_NONE)
        args[n++] = beck_str("NOACK");
    args[n++] = beck_str("STREAMS");
    args[n++] = w->stream;
    args[n++] = beck_str(w->history[0] != '\0' ? w->history : ">");
    w->blocked = block_ms > 0;
    return beck_client_append(w->cli->client, args, n);
}

/* The entries of XREADGROUP's reply: [[key, entries]], or {key: entries} in RESP3; NULL if none. */
static const struct beck_reply *worker_entries(const struct beck_reply *reply)
{
    const struct beck_reply *first = beck_reply_first(reply);

    if (first != NULL && beck_reply_type(reply) == BECK_REPLY_MAP)
        return beck_reply_next(first);
    return first != NULL ? beck_reply_at(first, 1) : NULL;
}

/* Copies entries into the batch. What is gone from the stream cannot be worked on: it is done. */
static int worker_take(struct worker *w, const struct beck_reply *entries)
{
    const struct beck_reply *at = entries != NULL ? beck_reply_first(entries) : NULL;
    bool in_history = w->history[0] != '\0';

    for (size_t n = at != NULL ? beck_reply_count(entries) : 0; n > 0; n--) {
        struct event event;
        if (!event_get(at, &event)) {
            cli_message(w->cli, "the server sent something that is no entry of a stream");
            return EXIT_RUNTIME;
        }
        if (in_history)
            snprintf(w->history, sizeof w->history, "%s", event.id.p);
        if (event.fields != NULL) {
            w->line.n = 0;
            event_put(&w->line, &event, &w->options->style);
            list_add(&w->ids, event.id);
            list_add(&w->lines, beck_bytes(w->line.p, w->line.n));
        } else if (w->options->ack == WORKER_ACK_AUTO) {
            list_add(&w->acks, event.id);
        }
        at = n > 1 ? beck_reply_next(at) : at;
    }
    return EXIT_OK;
}

/* Where the server does not know CLAIM: takes over idle entries by XAUTOCLAIM. */
static int worker_autoclaim(struct worker *w)
{
    char idle[24], count[24];
    struct beck_slice args[] = { beck_str("XAUTOCLAIM"), w->stream,   w->group,
                                 beck_str(w->consumer),  { idle, 0 }, beck_str(w->claimed),
                                 beck_str("COUNT"),      { count, 0 } };
    const struct beck_reply *reply;
    int rc;

    args[4].n = (size_t)snprintf(idle, sizeof idle, "%" PRIu64, w->options->claim_idle_ms);
    args[7].n = (size_t)snprintf(count, sizeof count, "%" PRIu64, worker_want(w));
    rc = worker_call(w, args, 8, &reply);
    if (rc != BECK_OK)
        return worker_failed(w, rc);
    if (beck_reply_count(reply) < 2)
        return EXIT_RUNTIME;
    snprintf(w->claimed, sizeof w->claimed, "%s", beck_reply_string(beck_reply_first(reply)).p);
    return worker_take(w, beck_reply_at(reply, 1));
}

/* After an error: whether it says that the server does not know CLAIM. */
static bool worker_learn_claim(struct worker *w, int rc)
{
    if (w->options->claim_idle_ms == OPTION_NOT_GIVEN || w->lacks_claim || rc != BECK_ERR_SERVER ||
        strncmp(beck_last_error(w->cli->client), "ERR syntax error", 16) != 0)
        return false;
    w->lacks_claim = true;
    return true;
}

/* Has what is done acknowledged and reads a batch; *empty: there is none. */
static int worker_read(struct worker *w, bool *empty)
{
    bool has_acks = w->acks.n > 0;
    const struct beck_reply *reply = NULL, *entries;
    int rc = has_acks ? worker_append_acks(w) : BECK_OK;

    if (rc == BECK_OK)
        rc = worker_append_read(w);
    if (rc == BECK_OK && has_acks) {
        int acked = worker_receive_acks(w);
        rc = acked == BECK_OK || acked == BECK_ERR_SERVER ? worker_receive(w, &reply) : acked;
    } else if (rc == BECK_OK) {
        rc = worker_receive(w, &reply);
    }
    w->blocked = false;
    if (worker_learn_claim(w, rc))
        return EXIT_OK;
    if (rc != BECK_OK)
        return worker_failed(w, rc);
    w->paused = false;
    entries = worker_entries(reply);
    *empty = entries == NULL || beck_reply_count(entries) == 0;
    return worker_take(w, entries);
}

/* Gets the next batch, which may be empty; *end: and it is the last one. */
static int worker_fetch(struct worker *w, bool *end)
{
    bool empty = false;
    int status = EXIT_OK;

    list_clear(&w->ids);
    list_clear(&w->lines);
    w->at = 0;
    if (w->lacks_claim && w->history[0] == '\0') {
        status = worker_acknowledge(w); /* or we would take over what is done */
        if (status == EXIT_OK)
            status = worker_autoclaim(w);
    }
    if (status != EXIT_OK || w->ids.n > 0)
        return status;
    status = worker_read(w, &empty);
    if (empty && w->history[0] != '\0')
        w->history[0] = '\0';
    else if (empty)
        *end = worker_block_ms(w) == 0;
    return status;
}

/* ---- Working ---- */

/* Remembers that entry i was printed. */
static void worker_printed(struct worker *w, size_t i)
{
    struct beck_slice id = list_at(&w->ids, i);
    char text[WHEN_ID_MAX];

    snprintf(text, sizeof text, "%.*s", (int)id.n, id.p);
    if (when_compare(text, w->shown) > 0)
        memcpy(w->shown, text, sizeof text);
    if (w->options->ack == WORKER_ACK_AUTO)
        list_add(&w->acks, id);
    w->done++;
}

/* Prints the batch. An entry counts as printed when stdout has taken it: W1. */
static int worker_print(struct worker *w)
{
    int status = EXIT_OK;

    for (size_t i = w->at; i < w->ids.n && status == EXIT_OK; i++) {
        text_put_slice(&w->out.text, list_at(&w->lines, i));
        if (w->out.text.n < OUTPUT_FULL && i + 1 < w->ids.n)
            continue;
        status = output_flush(&w->out);
        while (status == EXIT_OK && w->at <= i)
            worker_printed(w, w->at++);
    }
    if (status > EXIT_SIGNAL)
        worker_note_signal(w, status - EXIT_SIGNAL);
    return status;
}

/* What a command's end means for its entry. */
static int worker_settle(struct worker *w, struct beck_slice id, const struct exec_result *result)
{
    struct list ids = { 0 };
    int status;

    list_add(&ids, id);
    if (result->killed == 0 && result->status == 0) {
        list_add(&w->acks, id);
        status = worker_acknowledge(w);
    } else if (result->killed == 0 && result->status == TEMPORARY) {
        status = worker_nack(w, &ids, "SILENT");
    } else {
        cli_message(w->cli, "%.*s: the command %s %d", (int)id.n, id.p,
                    result->killed != 0 ? "was ended by signal" : "ended with status",
                    result->killed != 0 ? result->killed : result->status);
        status = worker_nack(w, &ids, "FAIL");
    }
    w->n_failed += result->killed != 0 || result->status != 0;
    w->done++;
    list_fini(&ids);
    return status;
}

/* Has the command work on the next entry of the batch. */
static int worker_exec(struct worker *w)
{
    struct beck_slice id = list_at(&w->ids, w->at);
    struct exec_result result;
    char text[WHEN_ID_MAX];
    struct exec_call call = { .command = w->options->exec,
                              .input = list_at(&w->lines, w->at),
                              .stream = w->stream.p,
                              .group = w->group.p,
                              .consumer = w->consumer,
                              .id = text };

    snprintf(text, sizeof text, "%.*s", (int)id.n, id.p);
    if (!exec_run(w->cli, &call, &result))
        return EXIT_RUNTIME;
    w->at++;
    worker_note_signal(w, result.signal);
    return worker_settle(w, beck_str(text), &result);
}

static int worker_work(struct worker *w)
{
    int status = EXIT_OK;

    if (w->options->exec == NULL)
        status = worker_print(w);
    while (status == EXIT_OK && w->at < w->ids.n && w->signal == 0) {
        worker_note_signal(w, cli_signal(w->cli));
        if (w->signal == 0)
            status = worker_exec(w);
    }
    return status;
}

static int worker_loop(struct worker *w)
{
    int status = EXIT_OK;
    bool end = false;

    while (status == EXIT_OK && !end && w->signal == 0 &&
           (w->options->count == 0 || w->done < w->options->count)) {
        status = worker_fetch(w, &end);
        if (status == EXIT_OK && w->ids.n > 0 && w->signal == 0)
            status = worker_work(w);
        if (w->ids.n > 0)
            w->idle_since = cli_now();
    }
    return status;
}

/* ---- Begin and end ---- */

/* Makes the group if it is not there. */
static int worker_make_group(struct worker *w)
{
    struct groups_place place;
    struct beck_slice args[] = { beck_str("XGROUP"), beck_str("CREATE"), w->stream,
                                 w->group,           { NULL, 0 },        beck_str("MKSTREAM") };
    const struct beck_reply *reply;
    int status = groups_parse_place(w->cli, "--from", w->options->from, &place);
    int rc;

    if (status == EXIT_OK)
        status = groups_find_place(w->cli, &place);
    if (status != EXIT_OK)
        return status;
    args[4] = beck_str(place.id);
    rc = worker_call(w, args, 6, &reply);
    if (rc == BECK_ERR_SERVER && strncmp(beck_last_error(w->cli->client), "BUSYGROUP", 9) == 0)
        return EXIT_OK;
    if (rc != BECK_OK)
        return cli_fail(w->cli, rc, NULL);
    cli_message(w->cli, "made the group \"%s\", from %s on", w->group.p, w->options->from);
    return EXIT_OK;
}

/* Gives back what nobody has begun to work on. */
static int worker_give_back(struct worker *w)
{
    struct list rest = { 0 };
    int status;

    for (size_t i = w->at; i < w->ids.n && w->options->ack != WORKER_ACK_NONE; i++)
        list_add(&rest, list_at(&w->ids, i));
    status = worker_nack(w, &rest, "SILENT");
    list_fini(&rest);
    return status;
}

/* What is pending under our name, or a part of it. */
static int worker_list_own(struct worker *w, struct list *out)
{
    struct beck_slice args[] = { beck_str("XPENDING"), w->stream,     w->group,
                                 beck_str("-"),        beck_str("+"), beck_str("1000"),
                                 beck_str(w->consumer) };
    const struct beck_reply *reply, *at;
    int rc = worker_call(w, args, 7, &reply);

    list_clear(out);
    at = rc == BECK_OK ? beck_reply_first(reply) : NULL;
    for (size_t n = at != NULL ? beck_reply_count(reply) : 0; n > 0; n--) {
        const struct beck_reply *id = beck_reply_first(at);
        if (id != NULL)
            list_add(out, beck_reply_string(id));
        at = n > 1 ? beck_reply_next(at) : at;
    }
    return rc;
}

/* Gives back what came for us and was lost with a connection: all that is still pending under a
 * name that is ours alone, unless it was left so on purpose. *n is what is pending then. */
static int worker_give_back_lost(struct worker *w, size_t *n)
{
    struct list own = { 0 };
    int status = EXIT_OK;
    bool more = true;

    while (more && status == EXIT_OK) {
        int rc = worker_list_own(w, &own);
        *n = own.n;
        if (rc != BECK_OK)
            status = worker_failed(w, rc);
        else if (own.n > 0 && w->options->ack == WORKER_ACK_AUTO && !w->lacks_nack)
            status = worker_nack(w, &own, "SILENT");
        else
            more = false;
    }
    list_fini(&own);
    return status;
}

/* Removes a consumer whose name nobody will use again, unless entries are pending for it. */
static int worker_leave(struct worker *w)
{
    struct beck_slice args[] = { beck_str("XGROUP"), beck_str("DELCONSUMER"), w->stream, w->group,
                                 beck_str(w->consumer) };
    const struct beck_reply *reply;
    size_t n_pending = 0;
    int status = EXIT_OK;
    int rc = BECK_ERR_AGAIN;

    if (w->options->consumer != NULL)
        return EXIT_OK;
    status = worker_give_back_lost(w, &n_pending);
    while (status == EXIT_OK && n_pending == 0 && rc != BECK_OK) {
        rc = worker_call(w, args, 5, &reply);
        if (rc != BECK_OK)
            status = worker_failed(w, rc);
    }
    return status;
}

/* The status to end with, after everything is told to the group that can be. */
static int worker_end(struct worker *w, int status)
{
    bool serves = !w->refused && beck_client_fd(w->cli->client) >= 0 &&
                  beck_client_pending(w->cli->client) == 0;
    int rc = serves ? worker_acknowledge(w) : EXIT_CONNECTION;

    if (w->acks.n > 0)
        cli_message(w->cli, "%zu entries are done but not acknowledged: they will come again",
                    w->acks.n);
    if (rc == EXIT_OK)
        rc = worker_give_back(w);
    if (rc == EXIT_OK)
        rc = worker_leave(w);
    if (w->out.closed) { /* as it would have been if we had not had something to finish */
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    if (w->signal != 0)
        return EXIT_SIGNAL + w->signal;
    if (status != EXIT_OK || rc != EXIT_OK)
        return status != EXIT_OK ? status : rc;
    if (w->n_failed > 0)
        return EXIT_PARTIAL;
    return w->done == 0 && w->options->exit_empty ? EXIT_NOTHING : EXIT_OK;
}

static void worker_init(struct worker *w)
{
    char host[200] = "";

    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "beck");
    snprintf(w->own_name, sizeof w->own_name, "%s-%ld", host, (long)getpid());
    w->consumer = w->options->consumer != NULL ? w->options->consumer : w->own_name;
    if (w->options->consumer != NULL && w->options->ack != WORKER_ACK_NONE)
        snprintf(w->history, sizeof w->history, "0-0");
    w->batch = w->options->batch;
    if (w->batch == 0)
        w->batch = w->options->exec != NULL ? 1 : BATCH;
    snprintf(w->shown, sizeof w->shown, "0-0");
    snprintf(w->claimed, sizeof w->claimed, "0-0");
    w->idle_since = cli_now();
    if (w->cli->globals.timeout_ms > 0)
        beck_client_set_timeout(w->cli->client, w->cli->globals.timeout_ms + BLOCK_MS);
    signal(SIGPIPE, SIG_IGN);
}

int worker_run(struct cli *cli, const char *stream, const struct worker_options *options)
{
    struct worker w = { .cli = cli,
                        .options = options,
                        .stream = beck_str(stream),
                        .group = beck_str(options->group) };
    int status = cli_connect(cli);

    if (status != EXIT_OK)
        return status;
    output_init(&w.out, cli);
    worker_init(&w);
    worker_learn_connection(&w);
    if (options->from != NULL)
        status = worker_make_group(&w);
    if (status == EXIT_OK)
        status = worker_end(&w, worker_loop(&w));
    output_fini(&w.out);
    list_fini(&w.ids);
    list_fini(&w.lines);
    list_fini(&w.acks);
    text_fini(&w.line);
    return status;
}
