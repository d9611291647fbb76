// Streams through redis (node-redis): `node node-redis.js <package> <port>`.
'use strict';
const [, , name, port] = process.argv;
const { createClient } = require(name);
const { equal, ok, fails, finish } = require('./checks.js');

const plain = (entry) => ({ id: entry.id, message: { ...entry.message } });

// RESP3's map as it is, which is what redis 5 makes of it.
const pairUp = (flat) => flat.flatMap((v, i) => (i % 2 ? [] : [[v, flat[i + 1]]]));
const raw = (reply) => Object.entries(reply).map(([name, entries]) => ({
  name, messages: entries.map(([id, fields]) => ({ id, message: Object.fromEntries(pairUp(fields)) })) }));

// What xRead gives, in either protocol version, as [{ name, messages }] of plain objects.
const streams = (reply) => reply && (Array.isArray(reply)
  ? reply.map((s) => ({ name: s.name, messages: s.messages.map(plain) })) : raw(reply));

async function appendsAndReads(c) {
  equal('PING is answered', await c.ping(), 'PONG');
  const first = await c.xAdd('s', '*', { city: 'Zürich', n: '1' });
  ok('XADD gives an ID', /^\d+-\d+$/.test(first), first);
  const second = await c.xAdd('s', '*', { city: '東京', n: '2' });
  equal('XLEN counts both', await c.xLen('s'), 2);
  equal('XRANGE gives what was added, in order', (await c.xRange('s', '-', '+')).map(plain), [
    { id: first, message: { city: 'Zürich', n: '1' } },
    { id: second, message: { city: '東京', n: '2' } },
  ]);
  equal('XREVRANGE starts at the end', (await c.xRevRange('s', '+', '-', { COUNT: 1 }))[0].id, second);
  equal('XREAD continues behind an ID', streams(await c.xRead({ key: 's', id: first }, { COUNT: 10 })), [
    { name: 's', messages: [{ id: second, message: { city: '東京', n: '2' } }] },
  ]);
  equal('XREAD of nothing new is null', await c.xRead({ key: 's', id: second }), null);
  equal('XDEL removes one', await c.xDel('s', first), 1);
  equal('XDEL of what is gone removes none', await c.xDel('s', first), 0);
  equal('an explicit ID is kept', await c.xAdd('ids', '5-1', { a: 'b' }), '5-1');
  equal('a partial ID is completed', await c.xAdd('ids', '5-*', { a: 'b' }), '5-2');
  await fails('an ID that is not larger is refused', c.xAdd('ids', '5-1', { a: 'b' }), /equal or smaller/);
}

async function trimsAndTells(c) {
  for (let i = 1; i <= 100; i++) await c.xAdd('t', `${i}-0`, { n: String(i) });
  equal('XTRIM MAXLEN keeps the newest', await c.xTrim('t', 'MAXLEN', 10), 90);
  equal('the first one left is the 91st', (await c.xRange('t', '-', '+', { COUNT: 1 }))[0].id, '91-0');
  equal('XTRIM MINID drops what is older', await c.xTrim('t', 'MINID', 96), 5);
  const trim = { TRIM: { strategy: 'MAXLEN', threshold: 3 } };
  equal('XADD can trim', await c.xAdd('t', '101-0', { n: '101' }, trim), '101-0');
  equal('XLEN after it', await c.xLen('t'), 3);
  const info = await c.xInfoStream('t');
  equal('XINFO: length', info.length, 3);
  equal('XINFO: last ID', info['last-generated-id'], '101-0');
  equal('XINFO: first entry', plain(info['first-entry']), { id: '99-0', message: { n: '99' } });
  equal('TYPE says stream', await c.type('t'), 'stream');
  equal('EXISTS', await c.exists(['t', 'absent']), 1);
}

async function transactions(c) {
  const results = await c.multi().xAdd('m', '1-1', { a: '1' }).xAdd('m', '1-2', { a: '2' }).xLen('m').exec();
  equal('MULTI/EXEC runs all', results, ['1-1', '1-2', 2]);
  await fails('an EXEC with a bad command is refused',
    c.multi().addCommand(['XADD', 'm']).exec(), /EXECABORT|wrong number/);
  equal('and has changed nothing', await c.xLen('m'), 2);
  const other = await c.duplicate().connect();
  await c.watch('m');
  await other.xAdd('m', '1-3', { a: '3' });
  await fails('a watched key that changed fails EXEC', c.multi().xAdd('m', '1-4', { a: '4' }).exec(), /watched keys/);
  await other.close();
}

async function pipelines(c) {
  const adds = [];
  for (let i = 0; i < 5000; i++) adds.push(c.xAdd('p', '*', { n: String(i), text: 'x'.repeat(i % 100) }));
  const ids = await Promise.all(adds);
  equal('5,000 requests under way give 5,000 IDs', new Set(ids).size, 5000);
  const seen = [];
  for (let last = '-'; ; ) {
    const chunk = await c.xRange('p', last === '-' ? '-' : `(${last}`, '+', { COUNT: 1000 });
    if (chunk.length === 0) break;
    seen.push(...chunk.map((e) => Number(e.message.n)));
    last = chunk[chunk.length - 1].id;
  }
  equal('and come back in order', seen, Array.from({ length: 5000 }, (_, i) => i));
  const big = 'x'.repeat(1 << 20);
  await c.xAdd('big', '1-1', { body: big });
  equal('a value of 1 MiB comes back', (await c.xRange('big', '-', '+'))[0].message.body === big, true);
}

async function blocks(c) {
  const reader = await c.duplicate().connect();
  const waiting = reader.xRead({ key: 'b', id: '$' }, { BLOCK: 20000 });
  // The reader waits before the entry is added: CLIENT LIST says so.
  for (let blocked = false; !blocked; ) {
    blocked = /cmd=xread/.test(await c.sendCommand(['CLIENT', 'LIST']));
  }
  const id = await c.xAdd('b', '*', { k: 'v' });
  equal('XREAD BLOCK wakes with the entry', streams(await waiting), [
    { name: 'b', messages: [{ id, message: { k: 'v' } }] },
  ]);
  equal('XREAD BLOCK gives up after its time', await reader.xRead({ key: 'b', id: '$' }, { BLOCK: 10 }), null);
  await reader.close();
}

async function scans(c) {
  for (let i = 0; i < 300; i++) await c.xAdd(`scan:${i}`, '*', { n: String(i) });
  const keys = new Set();
  for await (const found of c.scanIterator({ MATCH: 'scan:*', COUNT: 50 })) {
    [].concat(found).forEach((k) => keys.add(k));
  }
  equal('SCAN finds every key that matches', keys.size, 300);
  equal('DEL removes several', await c.del(['scan:0', 'scan:1', 'absent']), 2);
  equal('EXPIRE sets a time', await c.expire('scan:2', 100), 1);
  ok('TTL tells it', (await c.ttl('scan:2')) > 90);
  equal('PERSIST takes it away', await c.persist('scan:2'), 1);
  equal('RENAME moves', await c.rename('scan:2', 'renamed'), 'OK');
  equal('the entry moved with it', (await c.xRange('renamed', '-', '+')).length, 1);
}

async function groupsAreMade(c) {
  equal('XGROUP CREATE makes stream and group', await c.xGroupCreate('jobs', 'g', '0', { MKSTREAM: true }), 'OK');
  await fails('a second time it is there', c.xGroupCreate('jobs', 'g', '$'), /^BUSYGROUP/);
  equal('XGROUP CREATECONSUMER', await c.xGroupCreateConsumer('jobs', 'g', 'alice'), 1);
  const read = (streamsOf, options, who = 'alice') => c.xReadGroup('g', who, streamsOf, options).then(streams);
  equal('XREADGROUP of nothing is null', await read({ key: 'jobs', id: '>' }), null);
  await fails('XREADGROUP of no group', c.xReadGroup('none', 'alice', { key: 'jobs', id: '>' }), /^NOGROUP/);
  for (let i = 1; i <= 9; i++) await c.xAdd('jobs', `${i}-0`, { n: String(i) });
  equal('XGROUP SETID', await c.xGroupSetId('jobs', 'g', '1-0'), 'OK');
  const [two, three, four] = ['2', '3', '4'].map((n) => ({ id: `${n}-0`, message: { n } }));
  equal('XREADGROUP gives what is new', await read({ key: 'jobs', id: '>' }, { COUNT: 2 }), [{ name: 'jobs', messages: [two, three] }]);
  equal('XREADGROUP gives the history', await read({ key: 'jobs', id: '2-0' }), [{ name: 'jobs', messages: [three] }]);
  await c.xGroupCreate('more', 'g', '0', { MKSTREAM: true });
  await c.xAdd('more', '1-0', { m: '1' });
  const both = await read([{ key: 'jobs', id: '>' }, { key: 'more', id: '>' }], { COUNT: 1, NOACK: true }, 'bob');
  equal('XREADGROUP of two streams', both, [
    { name: 'jobs', messages: [four] }, { name: 'more', messages: [{ id: '1-0', message: { m: '1' } }] }]);
}

async function groupsArePending(c) {
  const sum = await c.xPending('jobs', 'g');
  equal('XPENDING counts', [sum.pending, sum.firstId, sum.lastId], [2, '2-0', '3-0']);
  equal('XPENDING counts by consumer', sum.consumers.map((x) => ({ ...x })), [{ name: 'alice', deliveriesCounter: 2 }]);
  const rows = await c.xPendingRange('jobs', 'g', '-', '+', 10, { IDLE: 0, consumer: 'alice' });
  equal('XPENDING lists', rows.map((x) => [x.id, x.consumer, x.deliveriesCounter]), [['2-0', 'alice', 1], ['3-0', 'alice', 2]]);
  equal('XCLAIM', (await c.xClaim('jobs', 'g', 'bob', 0, '2-0')).map(plain), [{ id: '2-0', message: { n: '2' } }]);
  equal('XCLAIM JUSTID', await c.xClaimJustId('jobs', 'g', 'bob', 0, '2-0'), ['2-0']);
  const claimed = await c.xAutoClaim('jobs', 'g', 'carol', 0, '0', { COUNT: 1 });
  equal('XAUTOCLAIM', [claimed.nextId, claimed.messages.map(plain)], ['3-0', [{ id: '2-0', message: { n: '2' } }]]);
  const ids = await c.xAutoClaimJustId('jobs', 'g', 'carol', 0, '0');
  equal('XAUTOCLAIM JUSTID', [ids.nextId, ids.messages], ['0-0', ['2-0', '3-0']]);
  equal('XACK', await c.xAck('jobs', 'g', ['3-0', '99-0']), 1);
}

async function groupsAreShown(c) {
  const [group] = await c.xInfoGroups('jobs');
  equal('XINFO GROUPS', [group.name, group.consumers, group.pending, group['last-delivered-id']], ['g', 3, 1, '4-0']);
  const who = await c.xInfoConsumers('jobs', 'g');
  equal('XINFO CONSUMERS', who.map((x) => [x.name, x.pending, typeof x.idle]), [
    ['alice', 0, 'number'], ['bob', 0, 'number'], ['carol', 1, 'number']]);
  const full = await c.sendCommand(['XINFO', 'STREAM', 'jobs', 'FULL']);
  equal('XINFO STREAM FULL has all', (Array.isArray(full) ? full : Object.keys(full)).includes('groups'), true);
  equal('XGROUP DELCONSUMER', await c.xGroupDelConsumer('jobs', 'g', 'carol'), 1);
}

async function groupsOfNow(c) {
  if (!/redis_version:[89]/.test(await c.info('server'))) return;
  await c.xGroupCreate('now', 'g', '0', { MKSTREAM: true });
  for (let i = 1; i <= 4; i++) await c.xAdd('now', `${i}-0`, { n: String(i) });
  await c.xReadGroup('g', 'alice', { key: 'now', id: '>' });
  equal('XNACK', await c.sendCommand(['XNACK', 'now', 'g', 'FAIL', 'IDS', '1', '2-0']), 1);
  equal('XACKDEL', await c.xAckDel('now', 'g', ['2-0', '99-0'], 'DELREF'), [1, -1]);
  equal('XDELEX', await c.xDelEx('now', ['3-0', '99-0'], 'KEEPREF'), [1, -1]);
  equal('XTRIM ACKED keeps what is pending', await c.xTrim('now', 'MAXLEN', 0, { policy: 'ACKED' }), 0);
  const policy = { TRIM: { strategy: 'MAXLEN', threshold: 1, policy: 'DELREF' } };
  equal('XADD DELREF', await c.xAdd('now', '5-0', { n: '5' }, policy), '5-0');
  const claimed = await c.sendCommand(['XREADGROUP', 'GROUP', 'g', 'bob', 'CLAIM', '0', 'STREAMS', 'now', '>']);
  const [, entries] = Array.isArray(claimed) ? claimed.flat() : Object.entries(claimed)[0];
  equal('XREADGROUP CLAIM has idle time and count', entries.map((x) => [x[0], x.length]), [['5-0', 4]]);
  if (!/beck_version/.test(await c.info('server'))) return;
  equal('XGROUP CFGSET', await c.sendCommand(['XGROUP', 'CFGSET', 'now', 'g', 'ACKWAIT', '9', 'DLQ', 'dead']), 'OK');
  equal('XDLQ REDRIVE', Object.values(await c.sendCommand(['XDLQ', 'REDRIVE', 'dead', 'now', 'g'])).filter(Number.isInteger), [0, 0, 0]);
}

async function groupsBlock(c) {
  const reader = await c.duplicate().connect();
  const blocked = async () => {
    while (!/cmd=xreadgroup/.test(await c.sendCommand(['CLIENT', 'LIST']))) ;
  };
  const read = (ms) => reader.xReadGroup('g', 'c', { key: 'late', id: '>' }, { BLOCK: ms }).then(streams);
  await c.xGroupCreate('late', 'g', '$', { MKSTREAM: true });
  const waiting = read(20000);
  await blocked();
  await c.xAdd('late', '1-0', { k: 'v' });
  equal('XREADGROUP BLOCK wakes with the entry', await waiting, [{ name: 'late', messages: [{ id: '1-0', message: { k: 'v' } }] }]);
  equal('XREADGROUP BLOCK gives up', await read(10), null);
  await reader.close();
  const other = await c.duplicate().connect();
  const failed = fails('a group that goes away releases its readers',
    other.xReadGroup('g', 'c', { key: 'late', id: '>' }, { BLOCK: 20000 }), /^NOGROUP/);
  await blocked();
  equal('XGROUP DESTROY', await c.xGroupDestroy('late', 'g'), 1);
  await failed;
  await other.close();
}

const groups = [groupsAreMade, groupsArePending, groupsAreShown, groupsOfNow, groupsBlock];

// Run for each version of the protocol, in a database of its own.
async function runs(protocol) {
  const c = await createClient({ url: `redis://127.0.0.1:${port}`, RESP: protocol, unstableResp3: true, database: protocol }).connect();
  for (const story of groups) await story(c);
  await c.close();
}

async function main() {
  const c = await createClient({ url: `redis://127.0.0.1:${port}` }).connect();
  for (const story of [appendsAndReads, trimsAndTells, transactions, pipelines, blocks, scans]) {
    await story(c);
  }
  await c.close();
  await runs(2);
  await runs(3);
  finish();
}

main().catch((e) => { ok(`everything runs: ${e.stack}`, false); finish(); process.exit(1); });
