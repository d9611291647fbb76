"""Consumer groups as docs/format.md describes them, for tests/lib/wal.py: bodies of records, items of checkpoints, and what they do."""

PARKED, NOBODY = 65535, 0
MASK = (1 << 64) - 1
OPTIONS = {1: "ackwait", 2: "maxdeliver", 3: "dlq", 4: "backoff", 5: "maxpending", 6: "consumerttl", 7: "orderby"}


def read_ids(data):
    n, ids, last, step = data.varint(), [], (0, 0), (0, 0)
    while len(ids) < n:
        mark = data.varint()
        kind, f = mark & 3, mark >> 2
        run = f + 1 if kind in (1, 3) else 1
        if kind == 1:
            step = (0, 1)
        elif kind != 3:
            ms = data.varint() if mark == 0 else f
            seq = 0 if kind == 0 and mark != 0 else data.varint()
            step = (ms, seq if ms == 0 else seq - last[1] & MASK)
        if run > n - len(ids):
            data.refuse("a run of IDs is too long")
        for _ in range(run):
            following = (last[0] + step[0] & MASK, last[1] + step[1] & MASK)
            if ids and following <= last:
                data.refuse("IDs do not ascend")
            last = following
            ids.append(last)
    return ids


def read_position(data):
    return {"last": data.id(), "read": data.varint() - 1, "n_behind": data.varint()}


def read_option(data, tag):
    if tag == 3:
        return data.str()
    if tag == 4:
        return [data.varint() for _ in range(data.varint())]
    if tag == 7:
        return (data.str(), data.varint())
    return data.varint()


def read_options(data):
    options = {}
    for _ in range(data.varint()):
        tag = data.varint()
        if tag not in OPTIONS or OPTIONS[tag] in options:
            data.refuse("option %d of a group" % tag)
        options[OPTIONS[tag]] = read_option(data, tag)
    return options


def read_keys(data, ids):
    return [int.from_bytes(data.take(4), "little") for _ in ids]


def read_back(data):
    back = data.varint()
    if back > 1:
        data.refuse("what becomes of a consumer's entries")
    return data.varint() if back else None


def read_delivery(data):
    d = {"slot": data.varint(), "flags": data.varint(), "time": data.varint()}
    flags = d["flags"]
    if flags > 15:
        data.refuse("flags of a delivery")
    d["last"] = data.id() if flags & 1 else None
    d["read"], d["n_behind"] = data.varint() - 1, data.varint()
    d["ids"] = read_ids(data) if flags & 2 else []
    d["keys"] = read_keys(data, d["ids"]) if flags & 4 else [0] * len(d["ids"])
    d["parked"] = read_ids(data) if flags & 8 else []
    d["parked_keys"] = read_keys(data, d["parked"])
    if d["last"] is None:
        d["last"] = max(d["ids"][-1:] + d["parked"][-1:] or [(0, 0)])
    return d


def read_change(data):
    x = {"slot": data.varint(), "flags": data.varint(), "time": data.varint()}
    flags = x["flags"]
    if flags > 15:
        data.refuse("flags of pending entries")
    x["active"] = data.varint() if flags & 2 else None
    count = None if flags & 4 else data.varint()
    x["ids"] = read_ids(data)
    x["counts"] = [data.varint() for _ in x["ids"]] if flags & 4 else [count] * len(x["ids"])
    x["keys"] = read_keys(data, x["ids"]) if flags & 8 else [None] * len(x["ids"])
    return x


class Entry:
    def __init__(self, slot, time, count, key, nacked=False, gone=False):
        self.slot, self.time, self.count, self.key, self.nacked, self.gone = slot, time, count, key, nacked, gone

    def state(self):
        return "parked" if self.slot == PARKED else "nacked" if self.nacked else "held"


class Group:
    """A group: what a checkpoint has of it, or a record has made."""

    def __init__(self, gid, as_of, name, position, options):
        self.gid, self.as_of, self.name = gid, as_of, name
        self.consumers = {}  # slot -> [name, active]
        self.entries = {}
        self.options = {}
        self.set_position(position)
        self.set_options(options)

    def set_position(self, position):
        self.last, self.read, self.n_behind = position["last"], position["read"], position["n_behind"]
        self.entries = {i: x for i, x in self.entries.items() if x.slot != PARKED}

    def set_options(self, options):
        was = self.options.get("orderby", (b"", 0))[0]
        self.options.update(options)
        if (self.options.get("orderby", (b"", 0))[0] or was) and "orderby" in options:
            self.entries = {}

    def pending(self):
        return [(i, x) for i, x in sorted(self.entries.items()) if x.slot != PARKED]

    def n_parked(self):
        return sum(x.slot == PARKED for x in self.entries.values())

    def drop_consumer(self, slot, back):
        self.consumers.pop(slot, None)
        for i, x in list(self.entries.items()):
            if x.slot != slot:
                continue
            if x.nacked:
                x.slot = NOBODY
            elif back is None:
                del self.entries[i]
            else:
                x.slot, x.nacked, x.time = NOBODY, True, back

    def set(self, i, entry):
        entry.gone = i in self.entries and self.entries[i].gone
        self.entries[i] = entry

    def deliver(self, d):
        self.last, self.read, self.n_behind = d["last"], d["read"], d["n_behind"]
        if d["slot"] in self.consumers:
            self.consumers[d["slot"]][1] = d["time"]
        for i, key in zip(d["ids"], d["keys"]):
            self.set(i, Entry(d["slot"], d["time"], 1, key))
        for i, key in zip(d["parked"], d["parked_keys"]):
            self.set(i, Entry(PARKED, 0, 0, key))

    def change(self, x):
        nacked = x["flags"] & 1 != 0
        if x["active"] is not None and x["slot"] in self.consumers:
            self.consumers[x["slot"]][1] = x["active"]
        for i, count, key in zip(x["ids"], x["counts"], x["keys"]):
            was = self.entries.get(i, Entry(NOBODY, 0, 0, 0))
            slot = x["slot"] or (NOBODY if was.slot == PARKED else was.slot)
            self.set(i, Entry(slot, x["time"], count, was.key if key is None else key, nacked))

    def ack(self, ids):
        for i in ids:
            self.entries.pop(i, None)

    def added(self, i):
        self.n_behind += i <= self.last

    def removed(self, i):
        if i in self.entries and self.entries[i].slot == PARKED:
            del self.entries[i]
        elif i in self.entries:
            self.entries[i].gone = True

    def cut(self, first, n_cut, everything):
        self.n_behind = 0 if everything or first > self.last else max(0, self.n_behind - n_cut)
        for i in [i for i in self.entries if i < first]:
            self.removed(i)

    def forget_below(self, first):
        self.ack([i for i, x in self.entries.items() if i < first and not x.gone])


def read_group(data, as_of):
    """An item of a checkpoint, behind the oid."""
    g = Group(data.varint(), as_of, data.str(), read_position(data), read_options(data))
    for _ in range(data.varint()):
        slot, _, active, name = data.varint(), data.varint(), data.varint(), data.str()
        if slot in g.consumers:
            data.refuse("two consumers in one slot")
        g.consumers[slot] = [name, active]
    return g


def read_pending(data, group):
    """The same for entries; `group` None: they are forgotten."""
    time = 0
    for i in read_ids(data):
        head, difference, count = data.varint(), data.varint(), data.varint()
        time = time + (difference >> 1 ^ -(difference & 1)) & MASK
        key = int.from_bytes(data.take(4), "little") if head & 4 else 0
        if group is not None:
            group.entries[i] = Entry(head >> 3, time, count, key, head & 1 != 0, head & 2 != 0)


class Groups(dict):
    """Of a stream, by gid."""

    def load(self, g):
        other = self.called(g.name)
        if g.gid in self or (other and other.gid > g.gid):
            return
        if other:
            del self[other.gid]
        self[g.gid] = g

    def called(self, name):
        return next((g for g in self.values() if g.name == name), None)

    def newer(self, lsn):
        """Those to which the record is new."""
        return [g for g in self.values() if g.as_of < lsn]
