// Sessions, caches, rate limits and locks by what is mostly used for them: `node caches.js <package> <port> [host]`.
'use strict';
const http = require('node:http');
const { createClient } = require('redis');
const Redis = require('ioredis');
const { equal, ok, fails, finish } = require('./checks.js');

const [, , name, port, host = 'localhost'] = process.argv;
const url = `redis://${host}:${port}`;

const nodeRedis = async (options = {}) => {
  const c = createClient({ url, ...options });
  c.on('error', (e) => console.log('client error:', e.message));
  await c.connect();
  return c;
};

// ---- connect-redis with express-session ----

// A server with a counter in its session; `ask` is a browser with one cookie.
function site(session, options) {
  const counts = session(options);
  const server = http.createServer((req, res) => counts(req, res, () => {
    if (req.url === '/leave') return req.session.destroy(() => res.end('left'));
    req.session.views = (req.session.views || 0) + 1;
    res.end(String(req.session.views));
  }));
  let cookie;
  const ask = (path) => new Promise((resolve, reject) => {
    http.get({ port: server.address().port, path, agent: false, headers: cookie ? { cookie } : {} }, (res) => {
      let text = '';
      if (res.headers['set-cookie']) [cookie] = res.headers['set-cookie'][0].split(';');
      res.on('data', (d) => { text += d; }).on('end', () => resolve(text));
    }).on('error', reject);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve({ server, ask })));
}

async function sessions() {
  const session = require('express-session');
  const { RedisStore } = require('connect-redis');
  const client = await nodeRedis();
  const store = new RedisStore({ client, prefix: 'sess:', ttl: 172800 });
  const options = { store, secret: 'keyboard', resave: false, saveUninitialized: false };
  const { server, ask } = await site(session, options);
  equal('a session begins', await ask('/'), '1');
  equal('... and goes on', [await ask('/'), await ask('/')], ['2', '3']);
  const [key] = await client.keys('sess:*');
  const ttl = await client.ttl(key);
  ok('it is there for two days', ttl > 172700 && ttl <= 172800, ttl);
  equal('the store knows how many', await store.length(), 1);
  equal('... and which', await store.ids(), [key.slice(5)]);
  equal('... and what is in them', (await store.all())[0].views, 3);
  await ask('/leave');
  equal('it ends', [await client.exists(key), await store.length()], [0, 0]);
  equal('another one begins', await ask('/'), '1');
  await store.clear();
  equal('all are cleared', await client.dbSize(), 0);
  server.close();
  await client.close();
}

// ---- @keyv/redis, cache-manager ----

async function keyv() {
  const { default: KeyvRedis } = await import('@keyv/redis');
  const { default: Keyv } = await import('keyv');
  const store = new Keyv(new KeyvRedis(url), { namespace: 'n' });
  store.on('error', (e) => ok('keyv', false, e.message));
  equal('what is not there is undefined', await store.get('a'), undefined);
  equal('a value is set', await store.set('a', { deep: [1, 'zwei'] }), true);
  equal('... and read', await store.get('a'), { deep: [1, 'zwei'] });
  equal('... and there', [await store.has('a'), await store.has('b')], [true, false]);
  await store.set('b', 2, 100000);
  await store.set('gone', 3, 1);
  const client = await nodeRedis();
  const [key] = await client.keys('*b');
  ok('a time to live is kept', (await client.pTTL(key)) > 90000, key);
  equal('several are read', await store.get(['a', 'b', 'c']), [{ deep: [1, 'zwei'] }, 2, undefined]);
  await store.setMany([{ key: 'm1', value: 1 }, { key: 'm2', value: 2 }]);
  equal('several are set', await store.getMany(['m1', 'm2']), [1, 2]);
  const seen = [];
  for await (const [key, value] of store.iterator()) seen.push([key, value]);
  equal('all are walked over', seen.filter(([k]) => k !== 'gone').sort()[0], ['a', { deep: [1, 'zwei'] }]);
  equal('one is deleted', [await store.delete('a'), await store.delete('a')], [true, false]);
  await store.clear();
  equal('all are', await store.get('b'), undefined);
  await store.disconnect();
  await client.close();
}

async function cacheManager() {
  const { createCache } = await import('cache-manager');
  const { createKeyv } = await import('@keyv/redis');
  const cache = createCache({ stores: [createKeyv(url)], ttl: 100000 });
  let n = 0;
  const slow = async () => { n += 1; return { answer: 42 }; };
  equal('computed', await cache.wrap('q', slow), { answer: 42 });
  equal('... and then not', [await cache.wrap('q', slow), n], [{ answer: 42 }, 1]);
  await cache.mset([{ key: 'x', value: 1 }, { key: 'y', value: 'two' }]);
  equal('several', await cache.mget(['x', 'y', 'z']), [1, 'two', undefined]);
  const left = await cache.ttl('x');
  ok('how long it lives is known', left === undefined || left > 0, left);
  equal('deleted', [await cache.del('x'), await cache.get('x')], [true, undefined]);
  await cache.clear();
  equal('cleared', await cache.get('y'), undefined);
  await cache.disconnect();
}

// ---- rate limits ----

const points = (r) => [r.consumedPoints, r.remainingPoints, r.isFirstInDuration];

async function limitsOf(what, storeClient, useRedisPackage) {
  const { RateLimiterRedis } = require('rate-limiter-flexible');
  const limiter = new RateLimiterRedis({ storeClient, useRedisPackage, keyPrefix: what, points: 3, duration: 100 });
  equal(`${what}: the first`, points(await limiter.consume('me')), [1, 2, true]);
  equal(`${what}: two more`, points(await limiter.consume('me', 2)), [3, 0, false]);
  await limiter.consume('me').then(() => ok(`${what}: too many`, false), (r) => {
    equal(`${what}: too many`, points(r), [4, 0, false]);
    ok(`${what}: ... until then`, r.msBeforeNext > 90000 && r.msBeforeNext <= 100000, r.msBeforeNext);
  });
  equal(`${what}: asked`, points(await limiter.get('me')), [4, 0, false]);
  equal(`${what}: given back`, points(await limiter.reward('me', 2)), [2, 1, false]);
  equal(`${what}: a penalty`, points(await limiter.penalty('me')), [3, 0, false]);
  equal(`${what}: set`, (await limiter.set('me', 1, 50)).consumedPoints, 1);
  await limiter.block('me', 100);
  await limiter.consume('me').then(() => ok(`${what}: blocked`, false), () => ok(`${what}: blocked`, true));
  equal(`${what}: forgotten`, [await limiter.delete('me'), await limiter.get('me')], [true, null]);
}

async function rateLimits() {
  const node = await nodeRedis();
  const io = new Redis({ port, host, enableOfflineQueue: false, lazyConnect: true });
  await io.connect();
  await limitsOf('node', node, true);
  await limitsOf('io', io, false);
  await windows(node);
  await node.close();
  io.disconnect();
}

async function windows(client) {
  const { RedisStore } = await import('rate-limit-redis');
  const store = new RedisStore({ sendCommand: (...args) => client.sendCommand(args), prefix: 'w:' });
  store.init({ windowMs: 100000 });
  equal('rate-limit-redis: hits', [(await store.increment('me')).totalHits, (await store.increment('me')).totalHits], [1, 2]);
  const left = (await store.get('me')).resetTime - Date.now();
  ok('rate-limit-redis: until then', left > 90000 && left <= 100100, left);
  await store.decrement('me');
  equal('rate-limit-redis: one less', (await store.get('me')).totalHits, 1);
  await store.resetKey('me');
  equal('rate-limit-redis: forgotten', await client.exists('w:me'), 0);
}

// ---- locks ----

async function locks() {
  const { default: Redlock } = require('redlock');
  const io = new Redis({ port, host });
  const redlock = new Redlock([io], { retryCount: 0 });
  redlock.on('error', () => {});
  let lock = await redlock.acquire(['r1', 'r2'], 60000);
  await fails('nobody else gets one of them', redlock.acquire(['r2', 'r3'], 1000), /quorum/);
  equal('the third is not taken', await io.exists('r3'), 0);
  lock = await lock.extend(90000);
  const ttl = await io.pttl('r2');
  ok('it is extended', ttl > 60000 && ttl <= 90000, ttl);
  await lock.release();
  equal('it is given back', await io.exists('r1', 'r2'), 0);
  await fails('... once', lock.release(), /quorum/);
  io.disconnect();
}

// ---- channels ----

async function channels() {
  const client = await nodeRedis();
  const subscriber = await client.duplicate().connect();
  const heard = [];
  await subscriber.subscribe('news', (message, channel) => heard.push([channel, message]));
  await subscriber.pSubscribe('n*', (message, channel) => heard.push(['by pattern', channel, message]));
  equal('two are told', await client.publish('news', 'hello'), 2);
  equal('PING among messages', await subscriber.ping(), 'pong');
  equal('both are', heard, [['news', 'hello'], ['by pattern', 'news', 'hello']]);
  await subscriber.unsubscribe('news');
  await subscriber.pUnsubscribe();
  equal('nobody is any more', await client.publish('news', 'hello'), 0);
  const io = new Redis({ port, host });
  const listener = new Redis({ port, host });
  const first = new Promise((resolve) => listener.once('message', (channel, message) => resolve([channel, message])));
  equal('ioredis subscribes', await listener.subscribe('a', 'b'), 2);
  await io.publish('b', 'x');
  equal('... and hears', await first, ['b', 'x']);
  await subscriber.close();
  await client.close();
  io.disconnect();
  listener.disconnect();
}

// Values that a client keeps, and forgets when the server says so: RESP3.
async function clientSideCache() {
  const { BasicClientSideCache } = require('redis');
  const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 0 });
  const reader = await nodeRedis({ RESP: 3, clientSideCache: cache });
  const writer = await nodeRedis();
  await writer.set('kept', '1');
  equal('read', await reader.get('kept'), '1');
  equal('read again', await reader.get('kept'), '1');
  equal('... without asking', [cache.stats().hitCount, cache.stats().missCount], [1, 1]);
  const told = new Promise((resolve) => cache.once('invalidate', resolve));
  await writer.set('kept', '2');
  equal('told of a change', String(await told), 'kept');
  equal('... and asks', await reader.get('kept'), '2');
  await reader.close();
  await writer.close();
}

async function main() {
  const parts = {
    'connect-redis': [sessions], keyv: [keyv, cacheManager], 'rate-limiter-flexible': [rateLimits], redlock: [locks], redis: [channels, clientSideCache],
  };
  for (const part of parts[name]) await part();
  finish();
}

main().catch((e) => { console.log('FAILED:', e); console.log('0 passed, 1 failed'); process.exit(1); });
