/*
 * lines.c - see lines.h. Lines are slices of the buffer; what is left of the last one moves to the
 * front before the next read. A line longer than the buffer doubles it, up to the limit.
 */
#include "cli/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/text.h"

enum { LINES_BUFFER = 256 << 10 };

void lines_init(struct lines *l, int fd)
{
    struct stat st;

    memset(l, 0, sizeof *l);
    l->fd = fd;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        off_t at = lseek(fd, 0, SEEK_CUR);
        l->regular = true;
        l->total = at >= 0 && st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
    }
}

void lines_fini(struct lines *l)
{
    free(l->buf);
    memset(l, 0, sizeof *l);
}

enum lines_result lines_next(struct lines *l, struct beck_slice *out)
{
    size_t left = l->len - l->at;
    const char *from, *end;

    if (l->buf == NULL)
        return LINES_MORE;
    from = l->buf + l->at;
    end = left > l->scanned ? memchr(from + l->scanned, '\n', left - l->scanned) : NULL;
    if (end == NULL && !l->ended) {
        l->scanned = left;
        return left > LINES_LINE_MAX ? LINES_TOO_LONG : LINES_MORE;
    }
    if (end == NULL && left == 0)
        return LINES_END;
    *out = beck_bytes(from, end != NULL ? (size_t)(end - from) : left);
    l->at += out->n + (end != NULL);
    l->bytes += out->n + (end != NULL);
    l->scanned = 0;
    l->number++;
    return LINES_LINE;
}

int lines_read(struct lines *l)
{
    struct text room = { l->buf, 0, l->cap };
    ssize_t n;

    if (l->at > 0) {
        memmove(l->buf, l->buf + l->at, l->len - l->at);
        l->len -= l->at;
        l->at = 0;
    }
    if (l->cap - l->len < LINES_BUFFER / 2) {
        room.n = l->len;
        text_room(&room, LINES_BUFFER);
        l->buf = room.p;
        l->cap = room.cap;
    }
    n = read(l->fd, l->buf + l->len, l->cap - l->len);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : errno;
    l->ended = n == 0;
    l->len += (size_t)n;
    return 0;
}
