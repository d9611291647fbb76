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

const mapOf = (flat) => Object.fromEntries(flat.flatMap((v, i) => (i % 2 ? [] : [[v, flat[i + 1]]])));

async function groupsAreMade(r) {
  equal('XGROUP CREATE makes stream and group', await r.xgroup('CREATE', 'jobs', 'g', '0', 'MKSTREAM'), 'OK');
  await fails('a second time it is there', r.xgroup('CREATE', 'jobs', 'g', '$'), /^BUSYGROUP/);
  equal('XGROUP CREATECONSUMER', await r.xgroup('CREATECONSUMER', 'jobs', 'g', 'alice'), 1);
  equal('XREADGROUP of nothing is null', await r.xreadgroup('GROUP', 'g', 'alice', 'STREAMS', 'jobs', '>'), null);
  await fails('XREADGROUP of no group', r.xreadgroup('GROUP', 'none', 'alice', 'STREAMS', 'jobs', '>'), /^NOGROUP/);
  for (let i = 1; i <= 9; i++) await r.xadd('jobs', `${i}-0`, 'n', i);
  equal('XGROUP SETID', await r.xgroup('SETID', 'jobs', 'g', '1-0'), 'OK');
  equal('XREADGROUP gives what is new', await r.xreadgroup('GROUP', 'g', 'alice', 'COUNT', 2, 'STREAMS', 'jobs', '>'), [
    ['jobs', [['2-0', ['n', '2']], ['3-0', ['n', '3']]]],
  ]);
  equal('XREADGROUP gives the history', (await r.xreadgroup('GROUP', 'g', 'alice', 'STREAMS', 'jobs', '2-0'))[0][1], [
    ['3-0', ['n', '3']],
  ]);
  await r.xgroup('CREATE', 'more', 'g', '0', 'MKSTREAM');
  await r.xadd('more', '1-0', 'm', '1');
  const both = await r.xreadgroup('GROUP', 'g', 'bob', 'COUNT', 1, 'NOACK', 'STREAMS', 'jobs', 'more', '>', '>');
  equal('XREADGROUP of two streams', both, [['jobs', [['4-0', ['n', '4']]]], ['more', [['1-0', ['m', '1']]]]]);
}

async function groupsArePending(r) {
  equal('XPENDING counts', await r.xpending('jobs', 'g'), [2, '2-0', '3-0', [['alice', '2']]]);
  const rows = await r.xpending('jobs', 'g', 'IDLE', 0, '-', '+', 10, 'alice');
  equal('XPENDING lists', rows.map(([id, who, idle, count]) => [id, who, idle >= 0, count]), [
    ['2-0', 'alice', true, 1], ['3-0', 'alice', true, 2]]);
  equal('XCLAIM', await r.xclaim('jobs', 'g', 'bob', 0, '2-0'), [['2-0', ['n', '2']]]);
  equal('XCLAIM JUSTID', await r.xclaim('jobs', 'g', 'bob', 0, '2-0', 'JUSTID'), ['2-0']);
  equal('XAUTOCLAIM', await r.xautoclaim('jobs', 'g', 'carol', 0, '0', 'COUNT', 1), ['3-0', [['2-0', ['n', '2']]], []]);
  equal('XACK', await r.xack('jobs', 'g', '3-0', '3-0', '99-0'), 1);
  equal('XACK of the last', await r.xack('jobs', 'g', '2-0'), 1);
}

async function groupsAreShown(r) {
  const [group] = (await r.xinfo('GROUPS', 'jobs')).map(mapOf);
  equal('XINFO GROUPS', [group.name, group.consumers, group.pending, group['last-delivered-id']], ['g', 3, 0, '4-0']);
  const who = (await r.xinfo('CONSUMERS', 'jobs', 'g')).map((x) => mapOf(x).name);
  equal('XINFO CONSUMERS', who, ['alice', 'bob', 'carol']);
  const full = mapOf(await r.xinfo('STREAM', 'jobs', 'FULL', 'COUNT', 1));
  equal('XINFO STREAM FULL', [full.length, full.entries.length, mapOf(full.groups[0])['pel-count']], [9, 1, 0]);
  equal('XGROUP DELCONSUMER', await r.xgroup('DELCONSUMER', 'jobs', 'g', 'alice'), 0);
}

// What ioredis has no method for, as a call: Redis 8's commands, and Beck's.
async function groupsOfNow(r) {
  if (!/redis_version:[89]/.test(await r.info('server'))) return;
  await r.xgroup('CREATE', 'now', 'g', '0', 'MKSTREAM');
  for (let i = 1; i <= 3; i++) await r.xadd('now', `${i}-0`, 'n', i);
  await r.xreadgroup('GROUP', 'g', 'alice', 'STREAMS', 'now', '>');
  equal('XNACK', await r.call('XNACK', 'now', 'g', 'FAIL', 'IDS', 1, '2-0'), 1);
  const claimed = await r.call('XREADGROUP', 'GROUP', 'g', 'bob', 'COUNT', 1, 'CLAIM', 0, 'STREAMS', 'now', '>');
  const [[id, fields, idle, count]] = Array.isArray(claimed[0]) ? claimed[0][1] : claimed[1]; // RESP3's map is flat
  equal('XREADGROUP CLAIM has idle time and count', [id, fields, typeof idle, count], ['2-0', ['n', '2'], 'number', 1]);
  equal('XACKDEL', await r.call('XACKDEL', 'now', 'g', 'DELREF', 'IDS', 2, '2-0', '99-0'), [1, -1]);
  equal('XDELEX', await r.call('XDELEX', 'now', 'KEEPREF', 'IDS', 2, '3-0', '99-0'), [1, -1]);
  if (!/beck_version/.test(await r.info('server'))) return;
  equal('XGROUP CFGSET', await r.call('XGROUP', 'CFGSET', 'now', 'g', 'ACKWAIT', 9, 'MAXDELIVER', 9, 'DLQ', 'dead'), 'OK');
  const about = mapOf((await r.call('BECK', 'GROUP', 'now', 'g')).flat());
  equal('BECK GROUP', [about.name, about.ackwait, about.dlq], ['g', 9, 'dead']);
}

// A reader waits before what `wake` does; returns what the reader got.
async function whileBlocked(r, reader, waiting, wake) {
  for (let blocked = false; !blocked; ) blocked = /cmd=xreadgroup/.test(await r.client('LIST'));
  await wake();
  return waiting;
}

async function groupsBlock(r) {
  const reader = r.duplicate();
  await reader.ping();
  await r.xgroup('CREATE', 'late', 'g', '$', 'MKSTREAM');
  const read = () => reader.xreadgroup('GROUP', 'g', 'c', 'BLOCK', 20000, 'STREAMS', 'late', '>');
  const got = await whileBlocked(r, reader, read(), () => r.xadd('late', '1-0', 'k', 'v'));
  equal('XREADGROUP BLOCK wakes with the entry', got, [['late', [['1-0', ['k', 'v']]]]]);
  const gone = read();
  const failed = fails('a group that goes away releases its readers', gone, /^NOGROUP/);
  await whileBlocked(r, reader, failed, () => r.xgroup('DESTROY', 'late', 'g'));
  await r.xgroup('CREATE', 'late', 'g', '$');
  equal('XREADGROUP BLOCK gives up', await reader.xreadgroup('GROUP', 'g', 'c', 'BLOCK', 10, 'STREAMS', 'late', '>'), null);
  await reader.quit();
}

const groups = [groupsAreMade, groupsArePending, groupsAreShown, groupsOfNow, groupsBlock];

async function main() {
  const r = host ? new Redis(Number(port), host) : new Redis(Number(port));
  for (const story of [appendsAndReads, trimsAndTells, transactions, pipelines, blocks, scans, ...groups]) {
    await story(r);
  }
  equal('QUIT', await r.quit(), 'OK');
  finish();
}

main().catch((e) => { ok(`everything runs: ${e.stack}`, false); finish(); process.exit(1); });
