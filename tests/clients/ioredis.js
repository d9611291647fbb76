// Streams through ioredis: `node ioredis.js <package> <port> [host]`.
'use strict';
const [, , name, port, host] = process.argv;
const Redis = require(name).default;
const { equal, ok, fails, finish } = require('./checks.js');

const pairs = (fields) => Object.entries(fields).flat();

async function appendsAndReads(r) {
  equal('PING is answered', await r.ping(), 'PONG');
  const first = await r.xadd('s', '*', 'city', 'Zürich', 'n', '1');
  ok('XADD gives an ID', /^\d+-\d+$/.test(first), first);
  const second = await r.xadd('s', '*', 'city', '東京', 'n', '2');
  equal('XLEN counts both', await r.xlen('s'), 2);
  equal('XRANGE gives what was added, in order', await r.xrange('s', '-', '+'), [
    [first, ['city', 'Zürich', 'n', '1']],
    [second, ['city', '東京', 'n', '2']],
  ]);
  equal('XREVRANGE starts at the end', (await r.xrevrange('s', '+', '-', 'COUNT', 1))[0][0], second);
  equal('XREAD continues behind an ID', await r.xread('COUNT', 10, 'STREAMS', 's', first), [
    ['s', [[second, ['city', '東京', 'n', '2']]]],
  ]);
  equal('XREAD of nothing new is null', await r.xread('STREAMS', 's', second), null);
  equal('binary values come back as they were', (await r.xrangeBuffer('s', second, second))[0][1][1], Buffer.from('東京'));
  equal('XDEL removes one', await r.xdel('s', first), 1);
  equal('XDEL of what is gone removes none', await r.xdel('s', first), 0);
  equal('an explicit ID is kept', await r.xadd('ids', '5-1', 'a', 'b'), '5-1');
  equal('a partial ID is completed', await r.xadd('ids', '5-*', 'a', 'b'), '5-2');
  await fails('an ID that is not larger is refused', r.xadd('ids', '5-1', 'a', 'b'), /equal or smaller/);
  await r.set('ids', 'x').then(
    () => ok('SET on a stream, where it is a command, replaces it', true),
    (e) => ok('SET, where it is no command, is an error', /^(ERR|WRONGTYPE)/.test(e.message), e.message));
}

async function trimsAndTells(r) {
  for (let i = 1; i <= 100; i++) await r.xadd('t', `${i}-0`, 'n', i);
  equal('XTRIM MAXLEN keeps the newest', await r.xtrim('t', 'MAXLEN', 10), 90);
  equal('the first one left is the 91st', (await r.xrange('t', '-', '+', 'COUNT', 1))[0][0], '91-0');
  equal('XTRIM MINID drops what is older', await r.xtrim('t', 'MINID', '96'), 5);
  equal('XADD can trim', await r.xadd('t', 'MAXLEN', 3, '101-0', 'n', 101), '101-0');
  equal('XLEN after it', await r.xlen('t'), 3);
  const info = await r.xinfo('STREAM', 't');
  const of = (key) => info[info.indexOf(key) + 1];
  equal('XINFO: length', of('length'), 3);
  equal('XINFO: last ID', of('last-generated-id'), '101-0');
  equal('XINFO: first entry', of('first-entry'), ['99-0', ['n', '99']]);
  equal('TYPE says stream', await r.type('t'), 'stream');
  equal('EXISTS', await r.exists('t', 'absent'), 1);
}

async function transactions(r) {
  const results = await r.multi().xadd('m', '1-1', 'a', '1').xadd('m', '1-2', 'a', '2').xlen('m').exec();
  equal('MULTI/EXEC runs all', results, [[null, '1-1'], [null, '1-2'], [null, 2]]);
  await fails('an EXEC with a bad command is refused', r.multi().xadd('m').exec(), /EXECABORT|wrong number/);
  equal('and has changed nothing', await r.xlen('m'), 2);
  const other = r.duplicate();
  await r.watch('m');
  await other.xadd('m', '1-3', 'a', '3');
  equal('a watched key that changed makes EXEC null', await r.multi().xadd('m', '1-4', 'a', '4').exec(), null);
  await other.quit();
}

async function pipelines(r) {
  const p = r.pipeline();
  for (let i = 0; i < 5000; i++) p.xadd('p', '*', ...pairs({ n: i, text: 'x'.repeat(i % 100) }));
  const results = await p.exec();
  equal('a pipeline of 5,000 has no errors', results.filter(([e]) => e).length, 0);
  let last = '-';
  const seen = [];
  for (;;) {
    const chunk = await r.xrange('p', last === '-' ? '-' : `(${last}`, '+', 'COUNT', 1000);
    if (chunk.length === 0) break;
    seen.push(...chunk.map(([, fields]) => Number(fields[1])));
    last = chunk[chunk.length - 1][0];
  }
  equal('and comes back in order', seen, Array.from({ length: 5000 }, (_, i) => i));
  const big = Buffer.alloc(1 << 20, 7);
  await r.xadd('big', '1-1', 'body', big);
  equal('a value of 1 MiB comes back', (await r.xrangeBuffer('big', '-', '+'))[0][1][1].equals(big), true);
}

async function blocks(r) {
  const reader = r.duplicate();
  await reader.ping();
  const waiting = reader.xread('BLOCK', 20000, 'STREAMS', 'b', '$');
  // The reader waits before the entry is added: CLIENT LIST says so.
  for (let blocked = false; !blocked; ) blocked = /cmd=xread/.test(await r.client('LIST'));
  const id = await r.xadd('b', '*', 'k', 'v');
  equal('XREAD BLOCK wakes with the entry', await waiting, [['b', [[id, ['k', 'v']]]]]);
  equal('XREAD BLOCK gives up after its time', await reader.xread('BLOCK', 10, 'STREAMS', 'b', '$'), null);
  await reader.quit();
}

async function scans(r) {
  for (let i = 0; i < 300; i++) await r.xadd(`scan:${i}`, '*', 'n', i);
  const keys = new Set();
  for await (const found of r.scanStream({ match: 'scan:*', count: 50 })) found.forEach((k) => keys.add(k));
  equal('SCAN finds every key that matches', keys.size, 300);
  equal('DEL removes several', await r.del('scan:0', 'scan:1', 'absent'), 2);
  equal('EXPIRE sets a time', await r.expire('scan:2', 100), 1);
  ok('TTL tells it', (await r.ttl('scan:2')) > 90);
  equal('PERSIST takes it away', await r.persist('scan:2'), 1);
  equal('RENAME moves', await r.rename('scan:2', 'renamed'), 'OK');
  equal('the entry moved with it', (await r.xrange('renamed', '-', '+')).length, 1);
}

async function main() {
  const r = host ? new Redis(Number(port), host) : new Redis(Number(port));
  for (const story of [appendsAndReads, trimsAndTells, transactions, pipelines, blocks, scans]) {
    await story(r);
  }
  equal('QUIT', await r.quit(), 'OK');
  finish();
}

main().catch((e) => { ok(`everything runs: ${e.stack}`, false); finish(); process.exit(1); });
