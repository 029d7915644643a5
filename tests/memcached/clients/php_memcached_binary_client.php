<?php
// Prints what a client of the binary protocol finds.

$client = new Memcached();
$client->setOption(Memcached::OPT_BINARY_PROTOCOL, true);
$client->addServer($argv[1], (int) $argv[2]);
foreach (['set' => ['k', 'one'], 'get' => ['k']] as $call => $arguments) {
    $result = json_encode($client->$call(...$arguments));
    echo "$call: $result, {$client->getResultMessage()}\n";
}
