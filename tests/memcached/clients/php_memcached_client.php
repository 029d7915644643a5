<?php
// Prints what the calls of php-memcached return, and the result's code.
[, $host, $port] = $argv;

function outcome(Memcached $client, string $name, string $method, ...$arguments): void
{
    $result = $client->$method(...$arguments);
    $text = json_encode($result, JSON_PARTIAL_OUTPUT_ON_ERROR);
    $text = strlen($text) > 200 ? substr($text, 0, 100) . '... (' . strlen($text) . ')' : $text;
    $message = str_replace((string) $GLOBALS['port'], 'PORT', $client->getResultMessage());
    echo "$name: $text, $message\n";
}

function client(array $options = []): Memcached
{
    $client = new Memcached();
    $client->setOptions($options);
    $client->addServer($GLOBALS['host'], (int) $GLOBALS['port']);
    return $client;
}

$large = str_repeat('x', 2 * 1024 * 1024);
$client = client([Memcached::OPT_COMPRESSION => false]);
outcome($client, 'flush', 'flush');
outcome($client, 'set', 'set', 'k', 'one');
outcome($client, 'get', 'get', 'k');
outcome($client, 'set number', 'set', 'n', 5);
outcome($client, 'set structure', 'set', 's', ['a' => [1, 2]], 100);
outcome($client, 'get structure', 'get', 's');
outcome($client, 'set that has expired', 'set', 'p', 'x', -1);
outcome($client, 'get what has expired', 'get', 'p');
outcome($client, 'add', 'add', 'k', 'two');
outcome($client, 'add new', 'add', 'new', 'two');
outcome($client, 'replace', 'replace', 'k', 'three');
outcome($client, 'replace nothing', 'replace', 'none', 'x');
outcome($client, 'append', 'append', 'k', '4');
outcome($client, 'prepend', 'prepend', 'k', '2');
outcome($client, 'set several', 'setMulti', ['a' => 1, 'b' => 2], 100);
outcome($client, 'get several', 'getMulti', ['a', 'b', 'none']);
$found = $client->get('k', null, Memcached::GET_EXTENDED);
echo 'gets: ', $found['value'], "\n";
outcome($client, 'cas', 'cas', $found['cas'], 'k', 'new');
outcome($client, 'old cas', 'cas', $found['cas'], 'k', 'newer');
outcome($client, 'increment', 'increment', 'n', 37);
outcome($client, 'decrement', 'decrement', 'n', 2);
outcome($client, 'decrement below', 'decrement', 'n', 200);
outcome($client, 'increment nothing', 'increment', 'none', 1);
outcome($client, 'increment text', 'increment', 'k', 1);
outcome($client, 'touch', 'touch', 'k', 100);
outcome($client, 'touch nothing', 'touch', 'none', 100);
outcome($client, 'delete', 'delete', 'k');
outcome($client, 'delete nothing', 'delete', 'k');
outcome($client, 'delete several', 'deleteMulti', ['a', 'none']);
outcome($client, 'long key', 'set', str_repeat('k', 251), 'x');
outcome($client, 'key with a blank', 'set', 'a b', 'x');
outcome($client, 'large value', 'set', 'large', $large);
outcome($client, 'get large value', 'get', 'large');
outcome($client, 'after the errors', 'set', 'k', 'x');
echo 'version: ', count($client->getVersion()), "\n";
echo 'statistics: ', isset(array_values($client->getStats())[0]['curr_items']), "\n";

$compressing = client([Memcached::OPT_COMPRESSION => true]);
outcome($compressing, 'compressed', 'set', 'z', str_repeat('x', 5000));
outcome($compressing, 'get compressed', 'get', 'z');
$silent = client([Memcached::OPT_NOREPLY => true]);
outcome($silent, 'silent set', 'set', 'q', 'x');
outcome($silent, 'get silent', 'get', 'q');
$buffering = client([Memcached::OPT_BUFFER_WRITES => true]);
outcome($buffering, 'buffered set', 'set', 'w', 'x');
outcome($buffering, 'get buffered', 'get', 'w');
outcome($client, 'flush', 'flush');
outcome($client, 'get flushed', 'get', 'k');
outcome($client, 'quit', 'quit');
