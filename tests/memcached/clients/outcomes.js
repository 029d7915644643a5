// Prints what the calls of a client return or fail with, one line each, without addresses.
'use strict';

const [host, port] = [process.argv[2], Number(process.argv[3])];
const large = 'x'.repeat(2 * 1024 * 1024);

function shown(value) {
  if (value instanceof Map) value = [...value.entries()];
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const plain = String(text).replaceAll(String(port), 'PORT');
  return plain.length > 200 ? `${plain.slice(0, 100)}… (${plain.length})` : plain;
}

async function outcome(name, call) {
  let result;
  try {
    result = shown(await call());
  } catch (error) {
    result = `${error.name}: ${shown(error.message)}`;
  }
  console.log(`${name}: ${result}`);
}

// A call whose last argument is a callback.
function called(object, method, ...others) {
  return new Promise((resolve, reject) => {
    object[method](...others, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

module.exports = { called, host, large, outcome, port };
