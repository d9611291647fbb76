// Starts a beckd (a redis-server with --redis, to check the tests) and runs each client's script against it.
'use strict';
const { spawn, spawnSync } = require('node:child_process');
const dns = require('node:dns').promises;
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const root = path.join(__dirname, '..', '..');
const node = Number(process.versions.node.split('.')[0]);
const clients = [
  { script: 'ioredis.js', name: 'ioredis', from: 18 },
  { script: 'node-redis.js', name: 'redis', from: 18 },
  { script: 'ioredis.js', name: 'ioredis6', from: 20 },
  { script: 'node-redis.js', name: 'redis6', from: 20 },
  { script: 'caches.js', name: 'redis', from: 20 },
  { script: 'caches.js', name: 'connect-redis', from: 20 },
  { script: 'caches.js', name: 'keyv', from: 20 },
  { script: 'caches.js', name: 'rate-limiter-flexible', from: 20 },
  { script: 'caches.js', name: 'redlock', from: 20 },
];

function startBeckd(dir) {
  const program = process.env.BECKD || path.join(root, 'build', 'beckd');
  const log = fs.openSync(path.join(dir, 'log'), 'a');
  const server = spawn(program, ['--port', '0', '--dir', path.join(dir, 'data')], { stdio: ['ignore', 'pipe', log] });
  return new Promise((resolve, reject) => {
    let text = '';
    server.stdout.on('data', (data) => {
      text += data;
      const ready = /^ready port=(\d+) /m.exec(text);
      if (ready) resolve({ server, port: ready[1] });
    });
    server.on('exit', (status) => reject(new Error(`${program} ended with status ${status}`)));
    server.on('error', reject);
  });
}

async function startRedis(dir) {
  const port = await new Promise((resolve) => {
    const s = net.createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = s.address();
      s.close(() => resolve(free));
    });
  });
  const program = path.join(root, 'build', 'redis-server');
  const server = spawn(program, ['--port', port, '--dir', dir, '--save', ''], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => server.stdout.on('data', (d) => /Ready to accept/.test(d) && resolve()));
  return { server, port };
}

// ioredis connects to localhost by default; a system so bare that it does not know the name gets the address.
const hosts = () => dns.lookup('localhost').then(() => [], () => ['127.0.0.1']);

async function runOne(client) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'beck-clients-'));
  const start = process.argv.includes('--redis') ? startRedis : startBeckd;
  const { server, port } = await start(dir);
  const { version } = JSON.parse(fs.readFileSync(path.join(__dirname, 'node_modules', client.name, 'package.json')));
  const began = process.hrtime.bigint();
  const run = spawnSync(process.execPath, [client.script, client.name, String(port), ...(await hosts())],
    { cwd: __dirname, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  const ended = new Promise((resolve) => server.removeAllListeners('exit').on('exit', resolve));
  server.kill('SIGTERM');
  const status = await ended;
  if (status !== 0 && fs.existsSync(path.join(dir, 'log'))) {
    console.log(fs.readFileSync(path.join(dir, 'log'), 'utf8'));
  }
  fs.rmSync(dir, { recursive: true });
  const sums = [...run.stdout.matchAll(/^(\d+) passed, (\d+) failed$/gm)].pop();
  const [passed, failures] = sums ? [Number(sums[1]), Number(sums[2])] : [0, 1];
  const failed = failures || (run.status === 0 && passed > 0 ? 0 : 1);
  if (failed) console.log(run.stdout);
  if (status !== 0) console.log(`FAILED: the server ended with status ${status}`);
  console.log(`${client.script.replace('.js', '')}, ${client.name} ${version}: ${passed} passed, ${failed} failed, ${seconds.toFixed(1)} s`);
  return { passed: passed + (status === 0 ? 1 : 0), failed: failed + (status === 0 ? 0 : 1) };
}

async function main() {
  let passed = 0;
  let failed = 0;
  for (const client of clients) {
    if (node < client.from) {
      console.log(`${client.name} needs Node ${client.from}; this is ${process.version}`);
      continue;
    }
    const sum = await runOne(client);
    passed += sum.passed;
    failed += sum.failed;
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

main().catch((e) => { console.log('FAILED:', e); console.log('0 passed, 1 failed'); process.exit(1); });
