'use strict';

const memjs = require('memjs');
const { host, outcome, port } = require('./outcomes');

// The client does not notice that a connection ends: its promises are never kept.
function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer')), 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function main() {
  const logger = { log: () => {} };
  const client = memjs.Client.create(`${host}:${port}`, { logger });
  await outcome('set', () => inTime(client.set('k', 'one', {})));
  client.close();
}

main();
