'use strict';
const { Memcache } = require('memcache');
const { host, large, outcome, port } = require('./outcomes.js');

async function main() {
  const client = new Memcache({ nodes: [`${host}:${port}`], timeout: 20000 });
  const ask = (name, method, ...others) => outcome(name, () => client[method](...others));
  client.on('error', () => {});
  await outcome('connect', () => client.connect());
  await ask('flush', 'flush');
  await ask('set', 'set', 'k', 'one');
  await ask('get', 'get', 'k');
  await ask('set number', 'set', 'n', '5');
  await ask('set with an expiry', 'set', 'e', 'x', 100);
  await ask('set that has expired', 'set', 'p', 'x', -1);
  await ask('get what has expired', 'get', 'p');
  await ask('add', 'add', 'k', 'two');
  await ask('add new', 'add', 'new', 'two');
  await ask('replace', 'replace', 'k', 'three');
  await ask('replace nothing', 'replace', 'none', 'x');
  await ask('append', 'append', 'k', '4');
  await ask('prepend', 'prepend', 'k', '2');
  await ask('several', 'gets', ['k', 'n', 'none']);
  await ask('cas that is old', 'cas', 'k', 'newer', '1');
  await ask('incr', 'incr', 'n', 37);
  await ask('decr', 'decr', 'n', 2);
  await ask('incr nothing', 'incr', 'none', 1);
  await ask('incr text', 'incr', 'k', 1);
  await ask('touch', 'touch', 'k', 100);
  await ask('touch nothing', 'touch', 'none', 100);
  await ask('delete', 'delete', 'k');
  await ask('delete nothing', 'delete', 'k');
  await ask('long key', 'set', 'k'.repeat(251), 'x');
  await ask('key with a blank', 'set', 'a b', 'x');
  await ask('large value', 'set', 'large', large);
  await ask('after the errors', 'set', 'k', 'x');
  await outcome('version', async () => (await client.version()).size);
  await outcome('stats', async () => (await client.stats()).size);
  await ask('flush', 'flush');
  await ask('get flushed', 'get', 'k');
  await ask('quit', 'quit');
  process.exit(0);
}

main();
