"""Reads a Beck store as docs/format.md describes it, without anything of the broker: what it finds is what the page says.

    store = Store("beck-data")
    for record in store.records: ...        # lsn, clock, type, body (decoded, see RECORDS)

Raises Damaged where the page says that a log is damaged, Refused for what a reader has to refuse.
"""

import os
import re
import struct

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


class Bytes:
    """A body being read."""

    def __init__(self, data):
        self.data, self.pos = data, 0

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


class Store:
    def __init__(self, path):
        self.records, self.markers, self.n_batches = [], [], 0
        self.lsn, self.index, self.synced = FIRST_LSN, 1, 0
        self._read_store(os.path.join(path, "STORE"))
        names = sorted(n for n in os.listdir(path) if re.fullmatch(r"wal-\d{20}\.log", n))
        self.files = [File(os.path.join(path, n)) for n in names]
        self._read_log()

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
        self.created_ms = struct.unpack_from("<Q", data, 40)[0]

    def _read_log(self):
        files = self.files
        if not files or files[0].lsn_of_name != FIRST_LSN or not files[0].sound:
            raise Damaged("the first file")
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

    for r in Store(sys.argv[1]).records:
        print(r)
