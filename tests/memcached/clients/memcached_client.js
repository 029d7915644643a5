'use strict';
const Memcached = require('memcached');
const { called, host, large, outcome, port } = require('./outcomes.js');

async function main() {
  const client = new Memcached(`${host}:${port}`, { timeout: 20000, retries: 0 });
  const ask = (name, method, ...others) => outcome(name, () => called(client, method, ...others));
  await ask('flush', 'flush');
  await ask('set', 'set', 'k', 'one', 0);
  await ask('get', 'get', 'k');
  await ask('set number', 'set', 'n', 5, 0);
  await ask('get number', 'get', 'n');
  await ask('set structure', 'set', 's', { a: [1, 2] }, 100);
  await ask('get structure', 'get', 's');
  await ask('set that has expired', 'set', 'p', 'x', -1);
  await ask('get what has expired', 'get', 'p');
  await ask('add', 'add', 'k', 'two', 0);
  await ask('add new', 'add', 'new', 'two', 0);
  await ask('replace', 'replace', 'k', 'three', 0);
  await ask('replace nothing', 'replace', 'none', 'x', 0);
  await ask('append', 'append', 'k', '4');
  await ask('prepend', 'prepend', 'k', '2');
  await ask('get multi', 'getMulti', ['k', 'n', 'none']);
  const { cas, k } = await called(client, 'gets', 'k');
  await outcome('gets', () => k);
  await ask('cas', 'cas', 'k', 'new', cas, 0);
  await ask('old cas', 'cas', 'k', 'newer', cas, 0);
  await ask('incr', 'incr', 'n', 37);
  await ask('decr', 'decr', 'n', 2);
  await ask('incr nothing', 'incr', 'none', 1);
  await ask('incr text', 'incr', 'k', 1);
  await ask('touch', 'touch', 'k', 100);
  await ask('touch nothing', 'touch', 'none', 100);
  await ask('delete', 'del', 'k');
  await ask('delete nothing', 'del', 'k');
  await ask('long key', 'set', 'k'.repeat(251), 'x', 0);
  await ask('key with a blank', 'set', 'a b', 'x', 0);
  await outcome('stats', async () => (await called(client, 'stats')).length);
  await outcome('settings', async () => (await called(client, 'settings')).length);
  await outcome('version', async () => (await called(client, 'version')).length);
  await outcome('items', async () => (await called(client, 'items')).length);
  await ask('flush', 'flush');
  await ask('get flushed', 'get', 'k');
  // A client of its own: it avoids the server after such an error.
  const other = new Memcached(`${host}:${port}`, { maxValue: 4 * large.length, retries: 0 });
  await outcome('large value', () => called(other, 'set', 'large', large, 0));
  client.end();
  other.end();
  process.exit(0);
}

main();
