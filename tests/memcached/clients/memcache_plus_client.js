'use strict';
const Memcached = require('memcache-plus');
const { host, large, outcome, port } = require('./outcomes.js');

async function main() {
  const client = new Memcached({ hosts: [`${host}:${port}`], maxValueSize: 4 * large.length, netTimeout: 20000 });
  const ask = (name, method, ...others) => outcome(name, () => client[method](...others));
  await ask('flush', 'flush');
  await ask('set', 'set', 'k', 'one');
  await ask('get', 'get', 'k');
  await ask('set number', 'set', 'n', '5');
  await ask('set structure', 'set', 's', { a: [1, 2] }, 100);
  await ask('get structure', 'get', 's');
  await ask('set compressed', 'set', 'z', 'x'.repeat(5000), { compressed: true });
  await outcome('get compressed', async () => (await client.get('z', { compressed: true })).length);
  await ask('add', 'add', 'k', 'two');
  await ask('add new', 'add', 'new', 'two');
  await ask('replace', 'replace', 'k', 'three');
  await ask('replace nothing', 'replace', 'none', 'x');
  await ask('append', 'append', 'k', '4');
  await ask('prepend', 'prepend', 'k', '2');
  await ask('several', 'getMulti', ['k', 'n', 'none']);
  await ask('cas', 'cas', 'k', 'new', '1');
  await ask('incr', 'incr', 'n', 37);
  await ask('decr', 'decr', 'n', 2);
  await ask('incr nothing', 'incr', 'none', 1);
  await ask('delete', 'delete', 'k');
  await ask('delete nothing', 'delete', 'k');
  await ask('delete several', 'deleteMulti', ['n', 'none']);
  await ask('set many', 'set', 'm', 'x'.repeat(100000));
  await outcome('get many', async () => (await client.get('m')).length);
  await outcome('version', async () => (await client.version()).length > 0);
  await ask('flush', 'flush');
  await ask('get flushed', 'get', 'k');
  process.exit(0);
}

main();
