// Streams through redis (node-redis): `node node-redis.js <package> <port>`.
'use strict';
const [, , name, port] = process.argv;
const { createClient } = require(name);
const { equal, ok, fails, finish } = require('./checks.js');

const plain = (entry) => ({ id: entry.id, message: { ...entry.message } });

// What xRead gives, in either protocol version, as [{ name, messages }] of plain objects.
const streams = (reply) => reply && reply.map((s) => ({ name: s.name, messages: s.messages.map(plain) }));

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

async function main() {
  const c = await createClient({ url: `redis://127.0.0.1:${port}` }).connect();
  for (const story of [appendsAndReads, trimsAndTells, transactions, pipelines, blocks, scans]) {
    await story(c);
  }
  await c.close();
  finish();
}

main().catch((e) => { ok(`everything runs: ${e.stack}`, false); finish(); process.exit(1); });
