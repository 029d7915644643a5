'use strict';
const { MemcacheClient } = require('memcache-client');
const { host, large, outcome, port } = require('./outcomes.js');

async function main() {
  const client = new MemcacheClient({ server: `${host}:${port}`, cmdTimeout: 20000 });
  const ask = (name, method, ...others) => outcome(name, () => client[method](...others));
  await ask('flush', 'cmd', 'flush_all');
  await ask('set', 'set', 'k', 'one');
  await ask('get', 'get', 'k');
  await outcome('value', async () => (await client.get('k')).value);
  await ask('set number', 'set', 'n', '5');
  await ask('set structure', 'set', 's', { a: [1, 2] }, { lifetime: 100 });
  await outcome('get structure', async () => (await client.get('s')).value);
  await ask('set that has expired', 'set', 'p', 'x', { lifetime: -1 });
  await ask('get what has expired', 'get', 'p');
  await ask('silent set', 'set', 'q', 'x', { noreply: true });
  await outcome('get silent', async () => (await client.get('q')).value);
  await ask('add', 'add', 'k', 'two');
  await ask('add new', 'add', 'new', 'two');
  await ask('replace', 'replace', 'k', 'three');
  await ask('replace nothing', 'replace', 'none', 'x');
  await ask('append', 'append', 'k', '4');
  await ask('prepend', 'prepend', 'k', '2');
  await outcome('several', async () => Object.keys(await client.get(['k', 'n', 'none'])));
  const found = await client.gets('k');
  await outcome('gets', () => found.value);
  await ask('cas', 'cas', 'k', 'new', { casUniq: found.casUniq });
  await ask('old cas', 'cas', 'k', 'newer', { casUniq: found.casUniq });
  await ask('incr', 'incr', 'n', 37);
  await ask('decr', 'decr', 'n', 2);
  await ask('incr nothing', 'incr', 'none', 1);
  await ask('incr text', 'incr', 'k', 1);
  await ask('touch', 'touch', 'k', 100);
  await ask('touch nothing', 'touch', 'none', 100);
  await ask('delete', 'delete', 'k');
  await ask('delete nothing', 'delete', 'k');
  await ask('large value', 'set', 'large', large);
  await ask('after the error', 'set', 'k', 'x');
  await outcome('version', async () => (await client.version()).length > 0);
  await ask('flush', 'cmd', 'flush_all');
  await ask('get flushed', 'get', 'k');
  client.shutdown();
  // Keys are not checked: one with a blank is one error with a second one behind it.
  const other = new MemcacheClient({ server: `${host}:${port}`, cmdTimeout: 20000 });
  await outcome('key with a blank', () => other.set('a b', 'v', { lifetime: 0 }));
  other.shutdown();
  process.exit(0);
}

main();
