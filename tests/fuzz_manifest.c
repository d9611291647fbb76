/* fuzz_manifest.c - a MANIFEST that anybody may have written.
 *
 * The input is the file, whose checksum is made right where it has the length for one, so that what lies behind it is
 * reached. What is taken for a manifest has to come back as it is when it is written again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/io.h"
#include "log/manifest.h"
#include "tests/lib/simio.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { MAGIC = 8, UUID = 24 };

static void fuzz_fail(const char *why, const struct err *e)
{
    fprintf(stderr, "%s: %s\n", why, e->text);
    abort();
}

/* The head's first fields are given, for they are the same in all that gets further; compat bits, which are not kept, are
 * left out. */
static void fuzz_put(struct simio *disk, const uint8_t *uuid, const uint8_t *p, size_t n)
{
    uint8_t *file = malloc(n + 1);

    if (file == NULL)
        abort();
    if (n > 0)
        memcpy(file, p, n);
    if (n >= UUID + WAL_UUID_BYTES) {
        memcpy(file, "BECKMAN", MAGIC);
        put_u32le(file + MAGIC, 1);
        put_u32le(file + MAGIC + 4, 0);
        memcpy(file + UUID, uuid, WAL_UUID_BYTES);
        put_u32le(file + n - 4, crc32c(0, file, n - 4));
    }
    simio_put(disk, "data/" MANIFEST_NAME, file, n);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const uint8_t uuid[WAL_UUID_BYTES] = "0123456789abcde";
    struct simio *disk = simio_new(1);
    struct io *io = simio_io(disk);
    struct manifest m;
    uint64_t written = 0, before;
    struct err e = { 0 };
    bool found;
    int rc;

    io->mkdir(io, "data");
    fuzz_put(disk, uuid, p, n);
    before = simio_digest(disk);
    rc = manifest_read(io, "data", uuid, &m, &found, &e);
    if (rc != OK && rc != ERR_CORRUPT && rc != ERR_FORMAT)
        fuzz_fail("neither taken nor refused", &e);
    if (rc == OK && manifest_write(io, "data", uuid, &m, &written, &e) != OK)
        fuzz_fail("what was read cannot be written", &e);
    if (before != simio_digest(disk))
        fuzz_fail("what was written is not what was read", &e);
    if (rc == OK)
        manifest_fini(&m);
    simio_free(disk);
    return 0;
}
