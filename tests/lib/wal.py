"""Reads a Beck store as docs/format.md describes it, without anything of the broker: what it finds is what the page says.

    store = Store("beck-data")
    for record in store.records: ...        # lsn, clock, type, body (decoded, see RECORDS)
    store.streams()                         # {(db, key): [(id, [(field, value), ...]), ...]}

Raises Damaged where the page says that a log is damaged, Refused for what a reader has to refuse. The compressors are those of
the system, by ctypes: libzstd.so.1 and liblz4.so.1.
"""

import bisect
import ctypes
import os
import re
import struct

import walgroups
import walvalues

FIRST_LSN = 1024
HEADER, FRAME, SECTOR = 4096, 64, 512
MORE, SEAL, SYNC, CLOSE = 1, 2, 4, 8


class Damaged(Exception):
    pass


class Refused(Exception):
    pass


def _crc_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


_TABLE = _crc_table()


def crc32c(data, start=0):
    crc = ~start & 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return ~crc & 0xFFFFFFFF


def need(holds, what):
    if not holds:
        raise Damaged(what)


def u32(data, pos):
    return struct.unpack_from("<I", data, pos)[0]


def u64(data, pos):
    return struct.unpack_from("<Q", data, pos)[0]


def crc_of_salt(salt):
    return crc32c(struct.pack("<Q", salt))


def unzigzag(v):
    return v >> 1 if v % 2 == 0 else -(v + 1 >> 1)


def decompress(codec, data, size):
    """`data` as `size` bytes; None if it is no such thing. Codec 0 none, 1 lz4, 2 zstd."""
    if codec == 0:
        return data if len(data) == size else None
    out = ctypes.create_string_buffer(size + 1)
    if codec == 1:
        n = ctypes.CDLL("liblz4.so.1").LZ4_decompress_safe(data, out, len(data), size)
    else:
        function = ctypes.CDLL("libzstd.so.1").ZSTD_decompress
        function.restype = ctypes.c_size_t
        n = function(out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
    return out.raw[:size] if n == size else None


class Bytes:
    """A body being read."""

    def __init__(self, data):
        self.data, self.pos = data, 0

    @staticmethod
    def refuse(what):
        raise Refused(what)

    def left(self):
        return len(self.data) - self.pos

    def u8(self):
        return self.take(1)[0]

    def take(self, n):
        if n > self.left():
            raise Refused("a body is cut short")
        self.pos += n
        return self.data[self.pos - n:self.pos]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if value >= 1 << 64 or shift > 70:
            raise Refused("a varint does not fit 64 bits")
        return value

    def str(self):
        return self.take(self.varint())

    def id(self):
        return (self.varint(), self.varint())

    def ids(self):
        return [self.id() for _ in range(self.varint())]

    def settings(self):
        return [(self.varint(), self.varint()) for _ in range(self.varint())]

    def view(self):
        return (self.varint(), self.str(), self.varint(), self.str()) if self.varint() else self.varint()

    def entry(self):
        return (self.id(), [(self.str(), self.str()) for _ in range(self.varint())])


V, S, I, E = Bytes.varint, Bytes.str, Bytes.id, Bytes.entry
RECORDS = {
    1: ("SKIP", [("next", V)]),
    2: ("STREAM", [("db", V), ("key", S)]),
    3: ("ENTRY", [("oid", V), ("entry", E)]),
    4: ("ENTRY_IDMP", [("oid", V), ("producer", S), ("iid", S), ("entry", E)]),
    5: ("DELETE", [("oid", V), ("ids", Bytes.ids)]),
    6: ("TRIM", [("oid", V), ("first", I)]),
    7: ("SETID", [("oid", V), ("last", I), ("entries_added", V), ("max_deleted", I)]),
    8: ("NAME", [("db", V), ("key", S), ("oid", V), ("expiry", V)]),
    9: ("UNNAME", [("db", V), ("key", S), ("reason", Bytes.u8), ("rev", V)]),
    10: ("FLUSH", [("db", V)]),
    11: ("IDMP_CONFIG", [("oid", V), ("duration_s", V), ("maxsize", V)]),
    12: ("REMOVE", [("oid", V), ("n_left", V), ("bytes_left", V), ("ids", Bytes.ids)]),
    13: ("CUT", [("oid", V), ("first", I), ("n_left", V), ("bytes_left", V)]),
    14: ("SETTINGS", [("oid", V), ("settings", Bytes.settings)]),
    15: ("GROUP", [("oid", V), ("group", S), ("position", walgroups.read_position), ("options", walgroups.read_options)]),
    16: ("GROUP_DROP", [("oid", V), ("gid", V)]),
    17: ("GROUP_POSITION", [("oid", V), ("gid", V), ("position", walgroups.read_position)]),
    18: ("GROUP_OPTIONS", [("oid", V), ("gid", V), ("options", walgroups.read_options)]),
    19: ("CONSUMER", [("oid", V), ("gid", V), ("slot", V), ("consumer", S)]),
    20: ("CONSUMER_DROP", [("oid", V), ("gid", V), ("slot", V), ("back", walgroups.read_back)]),
    21: ("DELIVER", [("oid", V), ("gid", V), ("delivery", walgroups.read_delivery)]),
    22: ("PENDING", [("oid", V), ("gid", V), ("change", walgroups.read_change)]),
    23: ("ACK", [("oid", V), ("gid", V), ("ids", walgroups.read_ids)]),
    24: ("UNREF", [("oid", V), ("first", I)]),
    25: ("SIFT", [("oid", V), ("n_left", V), ("bytes_left", V), ("ids", Bytes.ids)]),
    26: ("CHANGE", [("oid", V), ("entry", E)]),
    27: ("HISTORY", [("first", I), ("n", V)]),
    28: ("VIEW", [("view", Bytes.view)]),
}


class Record:
    def __init__(self, lsn, clock, kind, body):
        self.lsn, self.clock, self.kind = lsn, clock, kind
        if kind in RECORDS:
            self.name, fields = RECORDS[kind]
            data = Bytes(body)
            self.body = {name: read(data) for name, read in fields}
            if data.left():
                raise Refused("record %d: %d bytes too many" % (lsn, data.left()))
        elif kind >= 0x80:
            self.name, self.body = "?", body
        else:
            raise Refused("record %d is of unknown type %d" % (lsn, kind))

    def __str__(self):
        return "%d %d.%d %s %s" % (self.lsn, self.clock >> 16, self.clock & 0xFFFF, self.name,
                                   " ".join("%s=%r" % pair for pair in self.body.items()))


class File:
    """One file of the log: its header, and frames on demand."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        self.path = path
        self.lsn_of_name = int(os.path.basename(path)[4:24])
        head = self.data[:HEADER]
        self.sound = (len(head) == HEADER and head[:8] == b"BECKWAL\0"
                      and struct.unpack_from("<I", head, 4092)[0] == crc32c(head[:4092]))
        if not self.sound:
            return
        version, self.flags = struct.unpack_from("<II", head, 8)
        self.uuid = head[16:32]
        (self.first_lsn, self.first_index, salt, self.prev_end, self.prev_crc, zero,
         self.size) = struct.unpack_from("<QQQQIIQ", head, 32)
        if version != 1 or self.flags & ~1 or zero or any(head[80:4092]):
            raise Refused(path + " is of a newer format")
        self.seed = crc32c(struct.pack("<Q", salt))

    def frame(self, pos):
        """The frame at pos as a dictionary, its header sound, or None."""
        head = self.data[pos:pos + FRAME]
        if len(head) < FRAME or head[:4] != b"BLK1":
            return None
        names = ("header_crc synced_lsn prev_crc payload_len flags version zero payload_crc term count region index "
                 "first_lsn clock").split()
        f = dict(zip(names, struct.unpack_from("<IQIIBBHIIHHQQQ", head, 4)))
        if f["header_crc"] != crc32c(head[8:], self.seed) or f["version"] != 1 or f["zero"]:
            return None
        if f["flags"] not in (0, MORE, SEAL, SYNC, CLOSE) or f["payload_len"] > 16 << 20 \
                or (f["payload_len"] == 0) != (f["flags"] in (SEAL, SYNC, CLOSE)):
            return None
        f["pos"], f["end"] = pos, (pos + FRAME + f["payload_len"] + 7) // 8 * 8
        if f["end"] > len(self.data):
            return None
        f["payload"] = self.data[pos + FRAME:pos + FRAME + f["payload_len"]]
        if any(self.data[pos + FRAME + f["payload_len"]:f["end"]]):
            return None
        if f["payload_crc"] != crc32c(f["payload"], crc32c(head[32:])):
            return None
        return f

    def next_frame(self, pos, prev_crc):
        sector = (pos + SECTOR - 1) // SECTOR * SECTOR
        for at in (pos, sector):
            if at == sector and any(self.data[pos:sector]):
                return None
            f = self.frame(at)
            if f is not None and f["prev_crc"] == prev_crc:
                return f
        return None

    def claims(self, pos):
        """synced_lsn of every sound header from pos on."""
        for at in range(pos, len(self.data) - FRAME + 1, 8):
            head = self.data[at:at + FRAME]
            if head[:4] == b"BLK1" and struct.unpack_from("<I", head, 4)[0] == crc32c(head[8:], self.seed):
                yield struct.unpack_from("<Q", head, 8)[0]


class Manifest:
    """The file MANIFEST, or what holds without it."""

    def __init__(self, path, uuid):
        self.generation, self.sealed_lsn, self.wal_first, self.clock = 0, 0, FIRST_LSN, 0
        self.checkpoints, self.segments, self.obsolete = [], [], []
        if not os.path.exists(path):
            return
        with open(path, "rb") as f:
            data = f.read()
        need(len(data) >= 100 and data[:8] == b"BECKMAN\0", path)
        need(u32(data, len(data) - 4) == crc32c(data[:-4]), path)
        version, _, incompat, zero = struct.unpack_from("<IIII", data, 8)
        if version != 1 or incompat or zero or u32(data, 92):
            raise Refused("MANIFEST is of a newer format")
        need(data[24:40] == uuid, path)
        self.generation, self.next_ordinal, self.sealed_lsn, self.wal_first, self.clock = struct.unpack_from("<5Q", data, 40)
        n_segments, n_checkpoints, n_obsolete = struct.unpack_from("<III", data, 80)
        need(len(data) == 96 + 32 * n_checkpoints + 96 * n_segments + 8 * n_obsolete + 4, path)
        pos = 96
        for _ in range(n_checkpoints):
            c = dict(zip("start_lsn end_lsn bytes crc zero".split(), struct.unpack_from("<QQQII", data, pos)))
            need(c.pop("zero") == 0, path)
            self.checkpoints.append(c)
            pos += 32
        names = "ordinal lsn_first lsn_last bytes n_entries n_streams raw_bytes oid_first oid_last max_ms crc n_blocks level"
        for _ in range(n_segments):
            self.segments.append(dict(zip(names.split(), struct.unpack_from("<10QIIB", data, pos))))
            need(not any(data[pos + 89:pos + 96]), path)
            pos += 96
        self.obsolete = list(struct.unpack_from("<%dQ" % n_obsolete, data, pos))
        self._check(path)

    def _check(self, path):
        before = 0
        for s in self.segments:
            need(before < s["lsn_first"] <= s["lsn_last"] <= self.sealed_lsn, path)
            before = s["lsn_last"]
        ordinals = [s["ordinal"] for s in self.segments] + self.obsolete
        need(len(set(ordinals)) == len(ordinals) and all(o < self.next_ordinal for o in ordinals), path)
        starts = [c["start_lsn"] for c in self.checkpoints]
        need(starts == sorted(starts, reverse=True), path)


class Stream:
    """An object: what a checkpoint has of it, or a record has made."""

    def __init__(self, oid, as_of, name, rev):
        self.oid, self.as_of, self.name, self.rev = oid, as_of, name, rev
        self.expiry = self.added = self.added_when_empty = self.n = self.bytes = 0
        self.last = self.floor = self.max_deleted = (0, 0)
        self.deleted, self.settings, self.idmp = set(), {}, None
        self.entries = {}  # of segments and the log: id -> fields
        self.groups = walgroups.Groups()

    def live(self):
        return [(i, f) for i, f in sorted(self.entries.items()) if i >= self.floor and i not in self.deleted]


class Checkpoint:
    """A checkpoint that is whole: .objects by oid."""

    def __init__(self, path, uuid, says):
        with open(path, "rb") as f:
            self.data = data = f.read()
        need(len(data) == says["bytes"] and len(data) >= 128, path)
        need(data[:8] == b"BECKCKP\0" and u32(data, 60) == crc32c(data[:60]), path)
        version, _, incompat, zero = struct.unpack_from("<IIII", data, 8)
        if version != 1 or incompat or zero or u32(data, 56):
            raise Refused(path + " is of a newer format")
        need(data[24:40] == uuid and u64(data, 40) == says["start_lsn"], path)
        self.start_lsn, self.end_lsn, self.objects = says["start_lsn"], says["end_lsn"], {}
        self.values = walvalues.Values(Bytes)
        self.seed = crc_of_salt(u64(data, 48))
        self._read_trailer(path, says)
        self._read_chunks(path)

    def _read_trailer(self, path, says):
        tail = self.data[-64:]
        need(u32(tail, 0) == crc32c(tail[4:], self.seed) == says["crc"] and u32(tail, 4) == 0xFFFFFFFF, path)
        end_lsn, self.clock, self.n_chunks, zero, self.n_bytes, self.chunks_crc = struct.unpack_from("<QQIIQI", tail, 8)
        need(end_lsn == self.end_lsn and zero == 0 and not any(tail[44:56]) and tail[56:] == b"BECKCKE\0", path)

    def _read_chunks(self, path):
        pos, crcs, as_of, n_bytes = 64, b"", self.start_lsn, 0
        for number in range(self.n_chunks):
            need(len(self.data) - 64 - pos > 32, path)
            crc, no, lsn, stored, size, codec = struct.unpack_from("<IIQIIB", self.data, pos)
            need(not any(self.data[pos + 25:pos + 32]) and stored <= len(self.data) - 64 - pos - 32, path)
            need(crc == crc32c(self.data[pos + 4:pos + 32 + stored], self.seed), path)
            need(no == number and as_of <= lsn <= self.end_lsn and codec in (0, 1), path)
            payload = decompress(codec, self.data[pos + 32:pos + 32 + stored], size)
            need(payload is not None, path)
            self._read_objects(Bytes(payload), lsn)
            pos, crcs, as_of, n_bytes = pos + 32 + stored, crcs + struct.pack("<I", crc), lsn, n_bytes + size
        need(pos == len(self.data) - 64 and n_bytes == self.n_bytes and self.chunks_crc == crc32c(crcs), path)

    def _read_objects(self, data, as_of):
        while data.left():
            kind = data.u8()
            if kind == 1:
                self._read_stream(data, as_of)
            elif kind == 2:
                oid = data.varint()
                ids = self._deleted(data)
                if oid in self.objects:
                    self.objects[oid].deleted |= ids
            elif kind == 3:
                groups = self._groups(data.varint())
                groups.load(walgroups.read_group(data, as_of))
            elif kind == 4:
                groups = self._groups(data.varint())
                walgroups.read_pending(data, groups.get(data.varint()))
            elif kind == 5:
                self.values.read_value(data)
            elif kind == 6:
                self.values.read_piece(data)
            elif kind == 7:
                data.varint(), data.varint()
            elif kind == 8:
                data.take(16)
            elif kind == 16:
                self.values.read_history(data)
            else:
                raise Refused("an object of kind %d" % kind)

    def _groups(self, oid):
        return self.objects[oid].groups if oid in self.objects else walgroups.Groups()

    def _read_stream(self, data, as_of):
        oid, rev, db = data.varint(), data.varint(), data.varint()
        s = Stream(oid, as_of, (db, data.str()), rev)
        s.expiry, s.last, s.added, s.added_when_empty = data.varint(), data.id(), data.varint(), data.varint()
        s.n, s.bytes, flags = data.varint(), data.varint(), data.u8()
        if flags > 15:
            raise Refused("flags %d of a stream" % flags)
        if flags & 1:
            s.floor, s.max_deleted = data.id(), data.id()
        if flags & 2:
            s.deleted = self._deleted(data)
        if flags & 4:
            s.settings = dict(data.settings())
        if flags & 8:
            numbers = [data.varint() for _ in range(4)]
            s.idmp = (numbers, [(data.str(), data.str(), data.id(), data.varint()) for _ in range(data.varint())])
        self.objects.setdefault(oid, s)  # the first one holds

    @staticmethod
    def _deleted(data):
        ids, ms, seq = set(), 0, 0
        for _ in range(data.varint()):
            d_ms, d_seq = data.id()
            ms, seq = (ms, seq + d_seq) if d_ms == 0 else (ms + d_ms, d_seq)
            ids.add((ms, seq))
        return ids


class Block:
    """A decoded block: .rows as (oid, id, fields); .layout, .codec, .kinds of columns that it has."""

    def __init__(self, data, salt, number):
        need(len(data) > 32, "a block is cut short")
        crc, stored, self.raw_bytes, size, n, self.codec, self.layout = struct.unpack_from("<IIIIIBB", data, 0)
        need(len(data) == 32 + stored and crc == crc32c(data[4:], crc32c(struct.pack("<QI", salt, number))), "a block's crc")
        need(not any(data[22:32]) and 1 <= n <= 65536 and self.codec <= 2 and self.layout <= 1, "a block's header")
        payload = decompress(self.codec, data[32:], size)
        need(payload is not None and size >= 4, "a block does not unpack")
        head = u32(payload, size - 4)
        need(head <= size - 4, "a block's head")
        self.head, self.body = Bytes(payload[size - 4 - head:size - 4]), Bytes(payload[:size - 4 - head])
        self.kinds = set()
        oids = self._runs(n)
        self.raw = self._rows(n) if self.layout == 0 else self._columns(n, oids)
        need(self.head.left() == 0 and self.body.left() == 0, "something is left of a block")
        need(sum(len(r) for r in self.raw) == self.raw_bytes, "a block's raw bytes")
        self.rows = [(oid, *Bytes(row).entry()) for oid, row in zip(oids, self.raw)]

    def _numbers(self, n, unsigned=True):
        form = self.head.varint()
        mode, width = form >> 4, form & 15
        need(mode <= 2 and width <= 8, "a list of numbers")
        base = unzigzag(self.head.varint()) if mode in (0, 2) else 0
        planes = [self.body.take(n) for _ in range(width)]
        stored = [sum(plane[i] << 8 * k for k, plane in enumerate(planes)) for i in range(n)]
        out = []
        for s in stored:
            v = base + s if mode == 0 else unzigzag(s) if mode == 1 else base + unzigzag(s)
            v %= 1 << 64
            base = v if mode == 2 else base
            out.append(v if unsigned or v < 1 << 63 else v - (1 << 64))
        return out

    def _runs(self, n):
        n_runs = self.head.varint()
        oids, counts = self._numbers(n_runs), self._numbers(n_runs)
        need(all(counts) and sum(counts) == n and oids == sorted(set(oids)), "runs")
        return [oid for oid, count in zip(oids, counts) for _ in range(count)]

    def _rows(self, n):
        return [self.body.take(length) for length in self._numbers(n)]

    def _columns(self, n, oids):
        ms, seq = self._numbers(n), self._numbers(n)
        for i in range(1, n):
            if oids[i] == oids[i - 1] and ms[i] == ms[i - 1]:
                seq[i] = (seq[i] + seq[i - 1] + 1) % (1 << 64)
        schemas = [[self.head.str() for _ in range(self.head.varint())] for _ in range(self.head.varint())]
        which = self._numbers(n)
        need(1 <= len(schemas) <= 16 and max(which) < len(schemas), "schemas")
        columns = [[self._column(which.count(k)) for _ in names] for k, names in enumerate(schemas)]
        n_words = self.head.varint()
        words = self._column(n_words)(None) if n_words else []
        values = [list(zip(*[column(words) for column in of])) if of else None for of in columns]
        rows, used = [], [0] * len(schemas)
        for i in range(n):
            k = which[i]
            row = varint(ms[i]) + varint(seq[i]) + varint(len(schemas[k]))
            for name, value in zip(schemas[k], values[k][used[k]] if schemas[k] else ()):
                row += varint(len(name)) + name + varint(len(value)) + value
            used[k] += 1
            rows.append(row)
        return rows

    def _column(self, n):
        """Reads a column; returns what gives its values once the dictionary is known."""
        kind = self.head.varint()
        need(kind <= 4, "a column's kind")
        self.kinds.add(kind)
        if kind == 0:
            lengths = self._numbers(n)
            data = Bytes(self.body.take(self.head.varint()))
            values = [data.take(length) for length in lengths]
            need(data.left() == 0, "strings")
        elif kind == 1:
            lengths, shares = self._numbers(n), self.body.take(n)
            data, values = Bytes(self.body.take(self.head.varint())), []
            for length, share in zip(lengths, shares):
                before = values[-1] if values else b""
                need(share <= min(length, len(before)), "shared")
                values.append(before[:share] + data.take(length - share))
            need(data.left() == 0, "shared strings")
        elif kind == 2:
            values = [b"%d" % v for v in self._numbers(n, unsigned=False)]
        elif kind == 3:
            pattern = self.head.str()
            values = [self._digits(pattern, v) for v in self._numbers(n)]
        else:
            numbers = self._numbers(n)
            return lambda words: [words[k] for k in numbers]
        return lambda words: values

    @staticmethod
    def _digits(pattern, v):
        out = bytearray(pattern)
        for i in reversed(range(len(out))):
            if 48 <= out[i] <= 57:
                out[i] = 48 + v % 10
                v //= 10
        need(v == 0, "digits")
        return bytes(out)


def varint(v):
    out = bytearray()
    while v >= 0x80:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    out.append(v)
    return bytes(out)


class Segment:
    """A segment, all of it read and compared with itself: .blocks, .streams."""

    def __init__(self, path, uuid, says):
        with open(path, "rb") as f:
            self.data = data = f.read()
        self.path = path
        need(len(data) == says["bytes"] and len(data) >= 4096 + 128, path)
        need(data[:8] == b"BECKSEG\0" and u32(data, 4092) == crc32c(data[:4092]), path)
        version, _, incompat, self.level = struct.unpack_from("<IIIB", data, 8)
        if version != 1 or incompat or any(data[21:24]) or any(data[72:4092]):
            raise Refused(path + " is of a newer format")
        need(data[24:40] == uuid, path)
        self.ordinal, self.lsn_first, self.lsn_last, self.salt = struct.unpack_from("<QQQQ", data, 40)
        need([self.ordinal, self.lsn_first, self.lsn_last, self.level]
             == [says[k] for k in ("ordinal", "lsn_first", "lsn_last", "level")], path)
        self.seed = crc_of_salt(self.salt)
        self._read_trailer(says)
        self._read_blocks()
        self._read_streams()
        self._read_keys()
        self._check_filter()

    def _read_trailer(self, says):
        tail = self.data[-128:]
        need(tail[:8] == b"BECKEND\0" and u32(tail, 124) == crc32c(tail[:124], self.seed) == says["crc"], self.path)
        (self.n_blocks, self.n_pages, self.index_pos, self.streams_pos, self.filter_pos, self.keys_pos, *totals,
         header_crc, filter_crc, keys_crc, self.n_stream_pages) = struct.unpack_from("<II10QIIII", tail, 8)
        names = "n_entries n_streams raw_bytes oid_first oid_last max_ms".split()
        need(not any(tail[112:124]) and totals == [says[k] for k in names] and self.n_blocks == says["n_blocks"], self.path)
        need(header_crc == u32(self.data, 4092), self.path)
        self.filter, self.keys = self.data[self.filter_pos:self.keys_pos], self.data[self.keys_pos:-128]
        need(filter_crc == crc32c(self.filter, self.seed) and keys_crc == crc32c(self.keys, self.seed), self.path)
        self.totals = dict(zip(names, totals))

    def _pages(self, magic, pos, end, n):
        """(position, first block, its position, items' bytes, number of items) of each page."""
        for number in range(n):
            need(end - pos > 32 and self.data[pos:pos + 4] == magic, self.path)
            crc, no, size, count, block, block_pos = struct.unpack_from("<IIIIIQ", self.data, pos + 4)
            need(32 < size <= min(4096, end - pos) and no == number and count > 0, self.path)
            need(crc == crc32c(self.data[pos + 8:pos + size], self.seed), self.path)
            yield pos, block, block_pos, Bytes(self.data[pos + 32:pos + size]), count
            pos += size
        need(pos == end, self.path)

    def _read_blocks(self):
        self.blocks, self.page_keys, pos = [], [], 4096
        for at, block, block_pos, items, count in self._pages(b"BIX1", self.index_pos, self.streams_pos, self.n_pages):
            need(block == len(self.blocks) and block_pos == pos, self.path)
            oid, first_ms = 0, 0
            for i in range(count):
                d = items.varint()
                first_ms = first_ms if i > 0 and d == 0 else 0
                oid += d
                shape, raw, size = items.varint(), items.varint(), items.varint()
                first = (first_ms + items.varint(), items.varint())
                first_ms = first[0]
                last = ((first_ms if shape & 1 else 0) + items.varint(), items.varint())
                b = Block(self.data[pos:pos + size], self.salt, len(self.blocks))
                need((b.rows[0][:2], b.rows[-1][1]) == ((oid, first), last), self.path)
                need((len(b.rows), b.raw_bytes) == (shape >> 1, raw), self.path)
                need(shape & 1 == (b.rows[0][0] == b.rows[-1][0]), self.path)
                if i == 0:
                    self.page_keys.append((oid, *first, at))
                self.blocks.append(b)
                pos += size
            need(items.left() == 0, self.path)
        need(len(self.blocks) == self.n_blocks and pos == (self.index_pos if self.blocks else 4096), self.path)
        self.rows = [row for b in self.blocks for row in b.rows]
        keys = [row[:2] for row in self.rows]
        need(keys == sorted(set(keys)) and len(keys) == self.totals["n_entries"], self.path)

    def _read_streams(self):
        self.streams = {}
        for row, raw in zip(self.rows, (r for b in self.blocks for r in b.raw)):
            s = self.streams.setdefault(row[0], [0, 0, None])
            s[0], s[1], s[2] = s[0] + 1, s[1] + len(raw), row[1]
        listed = {}
        for _, block, block_pos, items, count in self._pages(b"BST1", self.streams_pos, self.filter_pos, self.n_stream_pages):
            need(block == 0 and block_pos == 0, self.path)
            oid = ms = 0
            for _ in range(count):
                oid, n, raw = oid + items.varint(), items.varint(), items.varint()
                ms = (ms + unzigzag(items.varint())) % (1 << 64)
                listed[oid] = [n, raw, (ms, items.varint())]
            need(items.left() == 0, self.path)
        need(listed == self.streams and list(listed) == sorted(listed), self.path)
        t, oids = self.totals, list(listed)
        need(t["n_streams"] == len(oids) and t["raw_bytes"] == sum(s[1] for s in listed.values()), self.path)
        need([t["oid_first"], t["oid_last"]] == ([oids[0], oids[-1]] if oids else [0, 0]), self.path)
        need(t["max_ms"] == max([row[1][0] for row in self.rows], default=0), self.path)

    def _read_keys(self):
        keys = [struct.unpack_from("<QQQQ", self.keys, at) for at in range(0, len(self.keys), 32)]
        need(keys == self.page_keys, self.path)

    def may_have(self, oid):
        """What the filter says."""
        n = len(self.streams)
        if n <= 64:
            return oid in struct.unpack("<%dQ" % n, self.filter)
        h = _mix(oid)
        line = self.filter[h % (len(self.filter) // 64) * 64:][:64]
        g = _mix(h)
        return all(line[(b := g >> 9 * k & 511) // 8] >> b % 8 & 1 for k in range(7))

    def _check_filter(self):
        n = len(self.streams)
        size = 8 * n if n <= 64 else (10 * n + 511) // 512 * 64
        need(len(self.filter) == size and all(self.may_have(oid) for oid in self.streams), self.path)


def _mix(v):
    mask = (1 << 64) - 1
    v = v + 0x9E3779B97F4A7C15 & mask
    v = (v ^ v >> 30) * 0xBF58476D1CE4E5B9 & mask
    v = (v ^ v >> 27) * 0x94D049BB133111EB & mask
    return v ^ v >> 31


class State:
    """What a checkpoint, segments and records leave, by the rules of "Reading a store"."""

    def __init__(self, manifest, checkpoint, segments):
        self.sealed_lsn = manifest.sealed_lsn
        self.start_lsn = checkpoint.start_lsn if checkpoint else 0
        self.end_lsn = checkpoint.end_lsn if checkpoint else 0
        self.objects = dict(checkpoint.objects) if checkpoint else {}
        self.sealed = {}
        for segment in segments:
            for oid, i, fields in segment.rows:
                self.sealed.setdefault(oid, {})[i] = fields
        for oid, s in self.objects.items():
            s.entries.update(self.sealed.get(oid, {}))
        self.seen = []  # sealed changes that the log still has
        self.cache = checkpoint.values if checkpoint else walvalues.Values(Bytes)
        self.changes = {seq: walvalues.Change(Bytes, seq, ((ms, seq), fields)) for (ms, seq), fields in self.sealed.get(1, {}).items()}

    def _find(self, r):
        """The object, and whether the record is to be applied to it."""
        s = self.objects.get(r.body["oid"])
        if s is None:
            need(r.lsn <= self.end_lsn, "record %d is about object %d, which is not there" % (r.lsn, r.body["oid"]))
            return None, False
        return s, r.lsn > s.as_of

    def find_change(self, lsn):
        need(lsn in self.changes, "the change of record %d is neither in a segment nor in the log" % lsn)
        return self.changes[lsn]

    def _change(self, r):
        need(r.body["oid"] == 1 and r.body["entry"][0][1] == r.lsn, "record %d: the ID of a change" % r.lsn)
        x = walvalues.Change(Bytes, r.lsn, r.body["entry"])
        if r.lsn > self.sealed_lsn:
            self.changes[r.lsn] = x
        else:
            self.seen.append(r.lsn)
        if r.lsn <= self.start_lsn:
            return
        self.cache.apply(x, self.find_change)
        if x.op == "flush":
            self._remove_if(lambda s: x.db in (255, s.name[0]) and s.as_of < r.lsn)

    def _history(self, r):
        self.cache.floor = max(self.cache.floor, r.body["first"])

    def apply(self, r):
        getattr(self, "_" + r.name.lower(), lambda r: None)(r)

    def _remove_if(self, gone):
        for oid in [o for o, s in self.objects.items() if gone(s)]:
            del self.objects[oid]

    def _stream(self, r):
        if r.lsn <= self.start_lsn or r.lsn in self.objects:
            return
        self.objects[r.lsn] = s = Stream(r.lsn, r.lsn, (r.body["db"], r.body["key"]), r.lsn)
        s.entries.update(self.sealed.get(r.lsn, {}))

    def _entry(self, r):
        s, new = self._find(r)
        if s is None:
            return
        i, fields = r.body["entry"]
        if r.lsn > self.sealed_lsn:
            s.entries[i] = fields
        if new:
            s.last, s.n = i, s.n + 1
        for g in s.groups.newer(r.lsn):
            g.added(i)

    _entry_idmp = _entry

    def _left(self, s, r):
        if "n_left" in r.body:
            s.n = r.body["n_left"]
        else:
            s.n = len(s.live())

    def _remove(self, r):
        s, new = self._find(r)
        if s is None:
            return
        for g in s.groups.newer(r.lsn):
            g.n_behind -= sum(i <= g.last for i in r.body["ids"])
            for i in r.body["ids"]:
                g.removed(i)
        s.deleted |= set(r.body["ids"])
        if new:
            self._left(s, r)

    _delete = _sift = _remove

    def _cut(self, r):
        s, new = self._find(r)
        if not new:
            return
        s.floor = max(s.floor, r.body["first"])
        if r.body.get("n_left") == 0:
            s.floor = max(s.floor, (s.last[0], s.last[1] + 1))
        before = s.n
        self._left(s, r)
        for g in s.groups.newer(r.lsn):
            g.cut(r.body["first"], before - s.n, s.n == 0)

    _trim = _cut

    def _setid(self, r):
        s, new = self._find(r)
        if not new:
            return
        if s.n == 0 and r.body["last"] < s.last:
            del self.objects[s.oid]
            if r.lsn in self.objects:
                return
            s.oid = s.rev = r.lsn
            s.entries, s.deleted, s.floor = {}, set(), (0, 0)
            self.objects[s.oid] = s
        s.last = r.body["last"]

    def _name(self, r):
        s, new = self._find(r)
        name = (r.body["db"], r.body["key"])
        self._remove_if(lambda other: other is not s and other.name == name and other.rev < r.lsn)
        if new:
            s.name, s.rev, s.expiry = name, r.lsn, r.body["expiry"]

    def _unname(self, r):
        name = (r.body["db"], r.body["key"])
        self._remove_if(lambda s: s.name == name and s.rev == r.body["rev"])

    def _flush(self, r):
        self._remove_if(lambda s: r.body["db"] in (0, s.name[0] + 1) and s.as_of < r.lsn)

    def _group(self, r):
        s, _ = self._find(r)
        if s is None or r.lsn in s.groups:
            return
        other = s.groups.called(r.body["group"])
        need(other is None or other.gid > r.lsn, "record %d: the group is there already" % r.lsn)
        if other is None:
            s.groups[r.lsn] = walgroups.Group(r.lsn, 0, r.body["group"], r.body["position"], r.body["options"])

    def _of_group(self, r):
        """The group, if there is one to which the record is new."""
        s, _ = self._find(r)
        g = s.groups.get(r.body["gid"]) if s else None
        need(g is not None or r.lsn <= self.end_lsn, "record %d is about group %d, which is not there" % (r.lsn, r.body["gid"]))
        return g if g is not None and g.as_of < r.lsn else None

    def _group_drop(self, r):
        if self._of_group(r):
            del self.objects[r.body["oid"]].groups[r.body["gid"]]

    def _group_position(self, r):
        g = self._of_group(r)
        if g:
            g.set_position(r.body["position"])

    def _group_options(self, r):
        g = self._of_group(r)
        if g:
            g.set_options(r.body["options"])

    def _consumer(self, r):
        g = self._of_group(r)
        if g:
            need(r.body["slot"] not in g.consumers, "record %d: the slot is taken" % r.lsn)
            g.consumers[r.body["slot"]] = [r.body["consumer"], 0]

    def _consumer_drop(self, r):
        g = self._of_group(r)
        if g:
            g.drop_consumer(r.body["slot"], r.body["back"])

    def _deliver(self, r):
        g = self._of_group(r)
        if g:
            g.deliver(r.body["delivery"])

    def _pending(self, r):
        g = self._of_group(r)
        if g:
            g.change(r.body["change"])

    def _ack(self, r):
        if r.body["gid"] != 0:
            groups = [g for g in [self._of_group(r)] if g]
        else:
            s, _ = self._find(r)
            groups = s.groups.newer(r.lsn) if s else []
        for g in groups:
            g.ack(r.body["ids"])

    def _unref(self, r):
        s, _ = self._find(r)
        for g in s.groups.newer(r.lsn) if s else []:
            g.forget_below(r.body["first"])

    def end(self):
        """Everything has been applied: one object a name, and as many entries as it says."""
        names = {}
        for s in self.objects.values():
            need(s.name not in names, "two objects are called %r" % (s.name,))
            names[s.name] = s
            need(len(s.live()) == s.n, "%r has %d entries instead of %d" % (s.name, len(s.live()), s.n))
        for lsn in self.seen:
            if lsn >= self.cache.floor[1]:
                self.find_change(lsn)  # history is sealed as it is
        for key, v in self.cache.values.items():
            need(key not in names, "%r is a stream and a value" % (key,))
            self.cache.load(v, self.find_change)
        return names


class Store:
    """A store that is whole: raises Damaged if a start would refuse it."""

    def __init__(self, path):
        self.path = path
        self.records, self.markers, self.n_batches = [], [], 0
        self._read_store(os.path.join(path, "STORE"))
        self.manifest = m = Manifest(os.path.join(path, "MANIFEST"), self.uuid)
        self.segments = [Segment(os.path.join(path, "st-%020d.seg" % s["ordinal"]), self.uuid, s) for s in m.segments]
        self.checkpoint = self._read_checkpoint()
        names = sorted(n for n in os.listdir(path) if re.fullmatch(r"wal-\d{20}\.log", n))
        files = [File(os.path.join(path, n)) for n in names]
        self.files = [f for f in files if f.lsn_of_name >= m.wal_first]
        if m.generation == 0 and not any(f.lsn_of_name == FIRST_LSN for f in files):
            need(not any(re.fullmatch(r"(st|ckpt)-\d{20}\.(seg|ck)", n) for n in os.listdir(path)), "MANIFEST is lost")
        self._read_log()

    def _read_checkpoint(self):
        """The newest one that is whole."""
        for i, c in enumerate(self.manifest.checkpoints):
            try:
                return Checkpoint(os.path.join(self.path, "ckpt-%020d.ck" % c["start_lsn"]), self.uuid, c)
            except (Damaged, OSError):
                if i + 1 == len(self.manifest.checkpoints):
                    raise
        return None

    def state(self):
        """{(db, key): Stream}; .values becomes {(db, key): walvalues.Value}."""
        state = State(self.manifest, self.checkpoint, self.segments)
        for r in self.records:
            state.apply(r)
        names = state.end()
        self.values = state.cache.values
        return names

    def streams(self):
        return {name: s.live() for name, s in self.state().items()}

    def _read_store(self, path):
        with open(path, "rb") as f:
            data = f.read()
        if len(data) != 64 or data[:8] != b"BECKSTO\0":
            raise Refused("STORE is none")
        version, self.compat, incompat, zero = struct.unpack_from("<IIII", data, 8)
        if struct.unpack_from("<I", data, 60)[0] != crc32c(data[:60]):
            raise Damaged("STORE")
        if version != 1 or incompat or zero or any(data[48:60]):
            raise Refused("STORE is of a newer format")
        self.uuid = data[24:40]
        self.created_ms = u64(data, 40)

    def _read_log(self):
        m, c = self.manifest, self.checkpoint
        covered = min(m.sealed_lsn, c.start_lsn if c else 0)
        first = bisect.bisect_right([f.lsn_of_name for f in self.files], max(covered + 1, m.wal_first)) - 1
        if first < 0 or not self.files[first].sound:
            raise Damaged("the first file")
        self.files = files = self.files[first:]
        self.lsn, self.index = files[0].first_lsn, files[0].first_index
        self.synced = max(m.sealed_lsn, c.end_lsn if c else 0)
        for i, f in enumerate(files):
            after = files[i + 1] if i + 1 < len(files) else None
            if f.uuid != self.uuid or f.first_lsn != f.lsn_of_name:
                raise Damaged(f.path)
            limit = after.prev_end if after and after.sound else None
            end, crc = self._read_file(f, limit)
            if after is None:
                break
            if not after.sound:
                if i + 2 == len(files) and after.lsn_of_name == self.lsn and b"BLK1" not in after.data:
                    break  # was just being made
                raise Damaged(after.path)
            if (end, crc, self.lsn, self.index) != (limit, after.prev_crc, after.first_lsn, after.first_index):
                raise Damaged("%s at byte %d" % (f.path, end))
        closed = bool(self.markers) and self.markers[-1] == CLOSE
        if max([self.synced, *f.claims(end)]) >= self.lsn or len(f.data) < f.size and not closed:
            raise Damaged("%s at byte %d" % (f.path, end))

    def _read_file(self, f, limit):
        """Takes what is sound; returns where it ends, and the CRC there."""
        pos, crc, run = HEADER, f.prev_crc, []
        end = (pos, crc)
        while limit is None or pos < limit:
            frame = f.next_frame(pos, crc)
            if frame is None or limit is not None and frame["end"] > limit:
                break
            marker = frame["flags"] & (SEAL | SYNC | CLOSE)
            expected = 0 if marker else self.index
            if frame["index"] != expected or marker and run:
                break
            pos, crc = frame["end"], frame["header_crc"]
            self.synced = max(self.synced, frame["synced_lsn"])
            if marker:
                self.markers.append(marker)
                end = (pos, crc)
                if marker != SYNC:
                    break
                continue
            run.append(frame)
            if not frame["flags"] & MORE:
                self._apply(run)
                run, end = [], (pos, crc)
                self.markers.append(0)
        return end

    def _apply(self, run):
        """The records of a whole batch."""
        data, first = Bytes(b"".join(f["payload"] for f in run)), self.lsn
        end, ended = 0, []
        for f in run:
            end += len(f["payload"])
            ended.append([end, f["count"]])
        while data.left():
            record = data.take(data.varint())
            self.records.append(Record(self.lsn, run[0]["clock"], record[0], record[1:]))
            self.lsn += 1
            if self.records[-1].name == "SKIP":
                self.lsn = self.records[-1].body["next"]
            next(frame for frame in ended if data.pos <= frame[0])[1] -= 1
        if any(count for _, count in ended) or run[0]["first_lsn"] != first:
            raise Damaged("a batch counts its records wrongly")
        self.index += 1
        self.n_batches += 1


if __name__ == "__main__":
    import sys

    for line in Store(sys.argv[1]).records:
        print(line)
