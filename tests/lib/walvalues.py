"""Values and their changes in a store, by docs/format.md alone: part of the second reader (tests/lib/wal.py)."""

STRING, HASH, LIST = 2, 3, 4
OPS = {1: "set", 2: "image", 3: "put", 4: "remove", 5: "expel", 6: "patch", 7: "ttl", 8: "fttl", 9: "del", 10: "expire", 11: "evict",
       12: "rename", 13: "flush", 14: "swap"}


def unzigzag(v):
    return v >> 1 ^ -(v & 1)


def contents(kind, data):
    """A value as a whole; `data` is the reader's Bytes of it."""
    if kind == STRING:
        return data.take(data.left())
    if kind == HASH:
        return {data.str(): (data.str(), data.varint()) for _ in range(data.varint())}
    at, elements = 0, {}
    for _ in range(data.varint()):
        at += unzigzag(data.varint())
        elements[at] = data.str()
    return elements


class Change:
    """The entry of a CHANGE."""

    def __init__(self, of, lsn, entry):
        (self.ms, self.seq), pairs = entry
        (op, self.db), self.key = pairs[0]
        self.lsn, self.op = lsn, OPS[op]
        if any(name for name, _ in pairs[1:]):
            raise ValueError("a string of a change has a name")
        numbers = of(pairs[1][1]) if len(pairs) > 1 else of(b"")
        self.numbers = []
        while numbers.left():
            self.numbers.append(numbers.varint())
        self.strings = [value for _, value in pairs[2:]]

    def number(self, i):
        return self.numbers[i] if i < len(self.numbers) else 0


class Value:
    def __init__(self, kind, rev):
        self.kind, self.rev, self.back = kind, rev, None
        self.expiry = self.stale = 0
        self.size = self.bytes = None


class Values:
    """What a checkpoint and changes leave: .values by (db, key)."""

    def __init__(self, of):
        self.of = of  # makes Bytes
        self.values, self.history, self.floor = {}, None, (0, 0)

    # -- items of a checkpoint

    def read_value(self, data):
        which, flags = data.u8(), data.u8()
        key = (which >> 4, data.str())
        v = Value(which & 15, data.varint())
        v.back = data.varint() if flags & 2 else v.rev if flags & 1 else None
        v.expiry = data.varint() if flags & 4 else 0
        v.stale = data.varint() if flags & 8 else 0
        v.size = data.varint() if flags & 1 else None
        if flags & 16:
            v.bytes = contents(v.kind, self.of(data.str()))
        elif not flags & 1:
            v.bytes = b"" if v.kind == STRING else {}
        self.values[key] = v

    def read_piece(self, data):
        which = data.u8()
        v, kind = self.values.get((which >> 4, data.str())), which & 15
        while data.u8():
            if kind == HASH:
                field = data.str()
                element = (data.str(), data.varint())
            else:
                field, element = data.varint(), data.str()
            if v is None or v.kind != kind:
                continue
            if kind == HASH:
                v.bytes[field] = element
            elif kind == LIST:
                v.bytes[unzigzag(field)] = element
            else:
                v.bytes = (v.bytes + bytes(field))[:field] + element + v.bytes[field + len(element):]

    def read_history(self, data):
        def point():
            return (data.id(), data.varint())

        head = (data.varint(), data.varint(), data.varint(), data.id())
        marks = [(data.id(), data.varint(), data.varint()) for _ in range(data.varint())]
        views = [(data.varint(), data.varint(), data.str(), data.varint(), data.str(), data.id(), data.id(), data.varint(),
                  [point() for _ in marks]) for _ in range(data.varint())]
        self.history = (head, marks, views)
        self.floor = marks[0][0] if marks else (0, 0)

    # -- changes

    def load(self, v, find):
        """Has the bytes of a backed value."""
        if v.bytes is None:
            x = find(v.back)
            v.bytes = contents(v.kind, self.of(x.strings[0] if x.strings else b""))

    def _set(self, key, x):
        v = Value(x.number(0), x.lsn)
        v.back, v.expiry, v.stale = x.lsn, x.number(1), x.number(2)
        self.values[key] = v

    def _elements(self, x):
        strings = iter(x.strings)
        if x.op in ("remove", "expel"):
            return list(strings) if x.number(0) == HASH else list(zip(strings, strings))
        return list(zip(strings, strings, strings)) if x.number(0) == HASH else list(zip(strings, strings))

    def _number(self, string):
        return self.of(string).varint() if string else 0

    def _put(self, v, x):
        for element in self._elements(x):
            if v.kind == HASH:
                v.bytes[element[0]] = (element[1], self._number(element[2]))
            else:
                v.bytes[unzigzag(self._number(element[0]))] = element[1]

    def _take(self, v, x):
        for element in self._elements(x):
            if v.kind == HASH:
                v.bytes.pop(element, None)
                continue
            first, last = (unzigzag(self._number(s)) for s in element)
            for at in [at for at in v.bytes if first <= at <= last]:
                del v.bytes[at]

    def _change(self, key, x, find):
        """A change of a part of a value."""
        v = self.values.get(key)
        if v is None and x.op in ("put", "patch"):
            v = self.values[key] = Value(x.number(0) if x.op == "put" else STRING, x.lsn)
            v.bytes = {} if x.op == "put" else b""
        if v is None:
            return
        if x.op == "ttl":
            v.expiry, v.stale = x.number(0), x.number(1)
            return
        self.load(v, find)
        v.back = None
        if x.op == "put":
            self._put(v, x)
        elif x.op in ("remove", "expel"):
            self._take(v, x)
        elif x.op == "patch":
            at, new = x.number(0), x.strings[0]
            v.bytes = ((v.bytes + bytes(at))[:at] + new + v.bytes[at + len(new):])[:x.number(1)]
        elif x.op == "fttl":
            for field in x.strings:
                if field in v.bytes:
                    v.bytes[field] = (v.bytes[field][0], x.number(0))

    def apply(self, x, find):
        key = (x.db, x.key)
        v = self.values.get(key)
        if x.op == "flush":
            self.values = {k: o for k, o in self.values.items() if x.db not in (255, k[0]) or o.rev >= x.lsn}
            return
        if x.op == "swap":
            other = {x.db: x.number(0), x.number(0): x.db}
            self.values = {(other.get(db, db), name): o for (db, name), o in self.values.items()}
            return
        if x.op == "rename":
            self._rename(key, (x.number(0), x.strings[0]), x.lsn)
            return
        if v is not None and v.rev >= x.lsn:
            return
        if x.op == "set":
            self._set(key, x)
        elif x.op == "image":
            if v is not None:
                v.back = x.lsn
            return
        elif x.op in ("del", "expire", "evict") or (x.op in ("remove", "expel") and x.number(1)):
            self.values.pop(key, None)
        else:
            self._change(key, x, find)
        if key in self.values:
            self.values[key].rev = x.lsn

    def _rename(self, key, to, lsn):
        v, there = self.values.get(key), self.values.get(to)
        if there is not None and there.rev < lsn:
            del self.values[to]
        if v is not None and v.rev < lsn:
            del self.values[key]
            if there is None or there.rev < lsn:
                v.rev = lsn
                self.values[to] = v

    def size(self, v):
        return v.size if v.bytes is None else len(v.bytes)
