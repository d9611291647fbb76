/*
 * produce.c - `beck produce STREAM [FILE]`: each line becomes an entry, confirmed or accounted for.
 *
 * Commands are on their way while lines are still being read: a window of at most WINDOW_COUNT
 * entries or WINDOW_BYTES of input without a reply. What is appended is sent in pieces of
 * CHUNK_BYTES; replies are taken as they come, waited for only when the window is full or there is
 * nothing else to do. With input from a pipe nothing is held back: before waiting for input all
 * commands are sent.
 *
 * An entry counts as stored when its reply has come, not before. `marks` remembers for each entry
 * that is on its way which line it was, so that every message can say where to go on:
 *
 *   P1  confirmed <= sent; marks of entries confirmed..sent are in the ring.
 *   P2  Nothing is sent behind a line that was refused (without --skip-bad), behind an error reply
 *       that has been seen, or behind a signal.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/lines.h"
#include "cli/output.h"
#include "cli/print.h"
#include "cli/progress.h"

enum {
    WINDOW_COUNT = 1 << 15, /* a power of two: the ring's size */
    WINDOW_BYTES = 16 << 20,
    CHUNK_BYTES = 128 << 10,
    BAD_LINES_SHOWN = 10,
    BAD_LINE_SHOWN_BYTES = 60,
    XADD_WORDS = 3
};

struct produce_options {
    bool lines, skip_bad, ids;
    const char *field;
};

struct produce_mark {
    uint64_t line;  /* its number */
    uint64_t bytes; /* of the input, up to its end */
};

struct produce {
    struct cli *cli;
    const struct produce_options *options;
    struct beck_slice stream;
    struct lines lines;
    struct json_event event;
    struct output out;
    struct progress progress;
    struct produce_mark *marks;
    uint64_t sent, answered; /* entries; those between are on their way */
    uint64_t stored;
    struct produce_mark last; /* of the last one that was stored */
    uint64_t n_bad;
    uint64_t n_refused; /* by the server */
    bool stopped;       /* read no more */
    int status;
};

enum produce_fill { FILL_FULL, FILL_EMPTY, FILL_END };

static void produce_stop(struct produce *p, int status)
{
    p->stopped = true;
    if (p->status == EXIT_OK)
        p->status = status;
}

/* Puts one entry on its way. `args` begin with XADD_WORDS free slots. */
static void produce_append(struct produce *p, struct beck_slice *args, size_t n)
{
    args[0] = beck_str("XADD");
    args[1] = p->stream;
    args[2] = beck_str("*");
    int rc = beck_client_append(p->cli->client, args, n);
    if (rc != BECK_OK) {
        progress_end(&p->progress);
        produce_stop(p, cli_fail(p->cli, rc, NULL));
        return;
    }
    p->marks[p->sent % WINDOW_COUNT] = (struct produce_mark){ p->lines.number, p->lines.bytes };
    p->sent++;
}

static void produce_bad_line(struct produce *p, struct beck_slice line)
{
    p->n_bad++;
    if (p->n_bad <= BAD_LINES_SHOWN || !p->options->skip_bad) {
        struct text shown = { 0 };
        char at[40] = "";
        if (p->event.error_at > 0)
            snprintf(at, sizeof at, " at byte %zu", p->event.error_at);
        print_start(&shown, line, BAD_LINE_SHOWN_BYTES);
        progress_end(&p->progress);
        cli_message(p->cli, "line %" PRIu64 ": %s%s: %.*s", p->lines.number, p->event.error, at,
                    (int)shown.n, shown.p);
        text_fini(&shown);
    }
    if (!p->options->skip_bad)
        produce_stop(p, EXIT_PARTIAL);
}

static void produce_line(struct produce *p, struct beck_slice line)
{
    if (p->options->lines) {
        struct beck_slice args[XADD_WORDS + 2];
        args[XADD_WORDS] = beck_str(p->options->field);
        args[XADD_WORDS + 1] = line;
        produce_append(p, args, XADD_WORDS + 2);
    } else if (json_event_parse(&p->event, line.p, line.n)) {
        produce_append(p, p->event.slices, XADD_WORDS + 2 * p->event.n_fields);
    } else {
        produce_bad_line(p, line);
    }
}

static bool produce_window_is_full(const struct produce *p)
{
    return p->sent - p->answered >= WINDOW_COUNT ||
           (p->sent > p->answered &&
            p->lines.bytes - p->marks[p->answered % WINDOW_COUNT].bytes >= WINDOW_BYTES);
}

/* Makes commands of the lines that are in memory. */
static enum produce_fill produce_fill(struct produce *p)
{
    while (!p->stopped) {
        struct beck_slice line;
        if (beck_client_unsent(p->cli->client) >= CHUNK_BYTES || produce_window_is_full(p))
            return FILL_FULL;
        switch (lines_next(&p->lines, &line)) {
        case LINES_LINE: produce_line(p, line); break;
        case LINES_MORE: return FILL_EMPTY;
        case LINES_END: return FILL_END;
        case LINES_TOO_LONG:
            progress_end(&p->progress);
            cli_message(p->cli, "line %" PRIu64 " is longer than %d bytes", ++p->lines.number,
                        LINES_LINE_MAX);
            p->n_bad++;
            produce_stop(p, EXIT_PARTIAL);
        }
    }
    return FILL_END;
}

static void produce_print_id(struct produce *p, struct beck_slice id)
{
    if (p->cli->globals.json)
        text_put_str(&p->out.text, "{\"_id\":\"");
    text_put_slice(&p->out.text, id);
    text_put_str(&p->out.text, p->cli->globals.json ? "\"}\n" : "\n");
}

/* One entry's answer: `rc` and `reply` as the client gave them. */
static void produce_answer(struct produce *p, int rc, const struct beck_reply *reply)
{
    struct produce_mark mark = p->marks[p->answered++ % WINDOW_COUNT];

    if (rc == BECK_OK) {
        p->stored++;
        p->last = mark;
        if (p->options->ids)
            produce_print_id(p, beck_reply_string(reply));
        return;
    }
    if (p->n_refused++ == 0) {
        progress_end(&p->progress);
        cli_message(p->cli, "line %" PRIu64 ": %s", mark.line, beck_last_error(p->cli->client));
        cli_advise(p->cli, rc);
    }
    produce_stop(p, rc == BECK_ERR_AUTH ? EXIT_CONNECTION : EXIT_RUNTIME);
}

/* Takes the answers that are here; with `wait`, waits for one. BECK_OK, or how the connection was
 * lost. */
static int produce_take(struct produce *p, bool wait)
{
    while (p->sent > p->answered) {
        const struct beck_reply *reply;
        int rc = wait ? beck_client_receive(p->cli->client, &reply)
                      : beck_client_poll(p->cli->client, &reply);
        if (rc == BECK_ERR_AGAIN)
            return BECK_OK;
        if (rc != BECK_OK && rc != BECK_ERR_SERVER && rc != BECK_ERR_AUTH)
            return rc;
        produce_answer(p, rc, reply);
        wait = false;
    }
    return BECK_OK;
}

/* The connection is lost: takes what had come before. */
static int produce_take_rest(struct produce *p)
{
    int rc = BECK_OK;

    while (rc == BECK_OK && p->sent > p->answered)
        rc = produce_take(p, true);
    return rc;
}

/* Waits until there is input (then reads it), an answer, or a signal. */
static void produce_read(struct produce *p)
{
    int client_fd = p->sent > p->answered ? beck_client_fd(p->cli->client) : -1;
    struct pollfd fds[3] = { { .fd = p->lines.fd, .events = POLLIN },
                             { .fd = client_fd, .events = POLLIN },
                             { .fd = p->cli->signal_fd, .events = POLLIN } };
    int error;

    if (!p->lines.regular) {
        if (poll(fds, 3, -1) < 0 || fds[0].revents == 0)
            return;
    }
    error = lines_read(&p->lines);
    if (error == 0)
        return;
    progress_end(&p->progress);
    cli_message(p->cli, "reading the input failed: %s", strerror(error));
    produce_stop(p, EXIT_RUNTIME);
}

/* Sends and receives until the input ends or something stops it. BECK_OK, or how the connection
 * was lost. */
static int produce_loop(struct produce *p)
{
    int rc = BECK_OK;

    while (rc == BECK_OK && !p->stopped) {
        enum produce_fill fill = produce_fill(p);
        int signal = cli_signal(p->cli);
        rc = beck_client_flush(p->cli->client);
        if (rc == BECK_OK)
            rc = produce_take(p, produce_window_is_full(p));
        else if (rc == BECK_ERR_CLOSED || rc == BECK_ERR_IO)
            rc = produce_take_rest(p);
        if (signal != 0)
            produce_stop(p, EXIT_SIGNAL + signal);
        if (rc == BECK_OK && p->out.text.n > 0) {
            int status = output_flush(&p->out);
            if (status != EXIT_OK)
                produce_stop(p, status);
        }
        progress_tell(&p->progress, p->stored, p->last.bytes);
        if (fill == FILL_END)
            break;
        if (fill == FILL_EMPTY && rc == BECK_OK && !p->stopped)
            produce_read(p);
    }
    return rc;
}

/* Waits for all answers that are still to come. A second signal ends the program. */
static int produce_drain(struct produce *p)
{
    int rc = BECK_OK;

    if (p->status > EXIT_SIGNAL)
        cli_finish_quietly(p->cli);
    while (rc == BECK_OK && p->sent > p->answered) {
        rc = produce_take(p, true);
        progress_tell(&p->progress, p->stored, p->last.bytes);
        if (rc == BECK_ERR_INTERRUPTED) {
            produce_stop(p, cli_status(p->cli, rc));
            cli_finish_quietly(p->cli);
            rc = BECK_OK;
        }
    }
    return rc;
}

static void produce_lost(struct produce *p, int rc)
{
    progress_end(&p->progress);
    cli_message(p->cli, "%s", beck_last_error(p->cli->client));
    fprintf(stderr,
            "%" PRIu64 " events are confirmed, the last one from line %" PRIu64 "; %" PRIu64
            " more were sent and may or may not be stored.\n"
            "When the server is back, look at the stream's end and go on behind it: "
            "tail -n +%" PRIu64 " FILE | beck produce ...\n",
            p->stored, p->last.line, p->sent - p->answered, p->last.line + 1);
    produce_stop(p, rc == BECK_ERR_TIMEOUT ? EXIT_NOTHING : EXIT_RUNTIME);
}

/* What to do next, after an end that is not the input's. */
static void produce_advise(struct produce *p)
{
    if (p->n_bad > BAD_LINES_SHOWN && p->options->skip_bad)
        cli_message(p->cli, "%" PRIu64 " lines were refused in all", p->n_bad);
    if (p->n_bad > 0 && !p->options->skip_bad)
        fprintf(stderr,
                "Nothing from this line on was sent. Correct it and go on with: "
                "tail -n +%" PRIu64 " FILE | beck produce ...\n"
                "%s",
                p->lines.number,
                p->options->lines
                    ? ""
                    : "Skip such lines with --skip-bad; for plain text use --lines.\n");
    if (p->n_refused > 0)
        fprintf(stderr,
                "%" PRIu64 " of %" PRIu64
                " events sent are stored; the last one is from line %" PRIu64 ".\n",
                p->stored, p->sent, p->last.line);
}

static void produce_summary(struct produce *p)
{
    double seconds = progress_seconds(&p->progress);
    double rate = (double)p->stored / seconds;
    char bytes[24], speed[24];

    progress_end(&p->progress);
    progress_format_bytes(bytes, sizeof bytes, (double)p->last.bytes);
    progress_format_bytes(speed, sizeof speed, (double)p->last.bytes / seconds);
    fprintf(stderr, "%" PRIu64 " events in %.3f s: %.0f events/s, %s, %s/s\n", p->stored, seconds,
            rate, bytes, speed);
    if (p->cli->globals.json && !p->options->ids)
        text_printf(&p->out.text,
                    "{\"events\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"bytes\":%" PRIu64
                    ",\"seconds\":%.3f}\n",
                    p->stored, p->n_bad + p->n_refused, p->last.bytes, seconds);
}

static int produce_work(struct produce *p)
{
    int rc = produce_loop(p);
    int status;

    if (rc == BECK_ERR_INTERRUPTED) {
        produce_stop(p, cli_status(p->cli, rc));
        rc = BECK_OK;
    }
    if (rc == BECK_OK)
        rc = produce_drain(p);
    if (rc != BECK_OK)
        produce_lost(p, rc);
    assert(p->answered <= p->sent); /* P1 */
    produce_advise(p);
    produce_summary(p);
    status = output_flush(&p->out);
    if (p->status == EXIT_OK && status != EXIT_OK)
        p->status = status;
    if (p->status == EXIT_OK && p->n_bad > 0)
        p->status = EXIT_PARTIAL;
    return p->status;
}

static int produce_open(struct produce *p, const char *path)
{
    int fd = STDIN_FILENO;

    if (path != NULL && strcmp(path, "-") != 0) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            cli_message(p->cli, "cannot read %s: %s", path, strerror(errno));
            return EXIT_USAGE;
        }
    } else if (isatty(STDIN_FILENO) == 1) {
        fprintf(stderr, "Reading %s from the terminal; end with Ctrl-D.\n",
                p->options->lines ? "lines" : "JSON objects, one a line,");
    }
    lines_init(&p->lines, fd);
    return EXIT_OK;
}

static int produce_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct produce p = { .cli = cli, .options = options, .stream = beck_str(argv[0]) };
    int status = produce_open(&p, argc > 1 ? argv[1] : NULL);

    if (status == EXIT_OK)
        status = cli_connect(cli);
    if (status != EXIT_OK)
        return status;
    p.marks = calloc(WINDOW_COUNT, sizeof *p.marks);
    if (p.marks == NULL) {
        cli_message(cli, "out of memory");
        return EXIT_RUNTIME;
    }
    json_event_init(&p.event, XADD_WORDS);
    output_init(&p.out, cli);
    progress_init(&p.progress, cli, p.lines.total);
    status = produce_work(&p);
    output_fini(&p.out);
    json_event_fini(&p.event);
    free(p.marks);
    if (p.lines.fd != STDIN_FILENO)
        close(p.lines.fd);
    lines_fini(&p.lines);
    return status;
}

#define OPTION(letter, name, value, kind, field, help)                           \
    {                                                                            \
        letter, name, value, kind, offsetof(struct produce_options, field), help \
    }

static const struct option_spec produce_specs[] = {
    OPTION('l', "lines", NULL, OPTION_FLAG, lines,
           "Read plain lines: each becomes an entry with one field."),
    OPTION('f', "field", "NAME", OPTION_TEXT, field, "With --lines, the field's name (line)."),
    OPTION(0, "skip-bad", NULL, OPTION_FLAG, skip_bad,
           "Go on behind lines that are no event, and end with status 5."),
    OPTION('v', "verbose", NULL, OPTION_FLAG, ids, "Print each entry's ID to stdout."),
};

static const struct produce_options produce_defaults = { .field = "line" };

const struct command command_produce = {
    .name = "produce",
    .arguments = "STREAM [FILE]",
    .summary = "append lines of JSON or text to a stream",
    .text =
        "Reads FILE, or stdin, and appends each line to the stream as an entry. A line is a JSON "
        "object with "
        "at least one field and no field twice; its fields become the entry's, in their order. "
        "`beck consume --json` prints the same objects again, with every number digit for digit.\n"
        "\n"
        "An event counts as stored when the server has confirmed it. The first line that is no "
        "event "
        "stops the command with its number; what stood before it is stored, nothing behind it is "
        "sent. "
        "On a lost connection it says how many lines are confirmed. SIGINT stops the reading and "
        "waits for "
        "confirmations. At the end stderr gets the number of events, their rate and the bytes "
        "read.\n"
        "\n"
        "    beck produce flights < flights.jsonl\n"
        "    tail -f /var/log/syslog | beck produce --lines --field text syslog",
    .options = produce_specs,
    .n_options = sizeof produce_specs / sizeof produce_specs[0],
    .defaults = &produce_defaults,
    .options_bytes = sizeof produce_defaults,
    .min_args = 1,
    .max_args = 2,
    .run = produce_run,
};
