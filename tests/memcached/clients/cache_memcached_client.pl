use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Cache::Memcached;
use Outcomes;

my $client = Cache::Memcached->new({ servers => [$server], compress_threshold => 0 });
everything($client);
ask($client, 'delete with a time of 0', 'delete', 'k', 0);
my $compressing = Cache::Memcached->new({ servers => [$server], compress_threshold => 1000 });
ask($compressing, 'compressed', 'set', 'z', 'x' x 5000);
ask($compressing, 'get compressed', 'get', 'z');
outcome('stats', sub { exists $client->stats('misc')->{hosts}{$server}{misc}{curr_items} });
outcome('pages', sub { defined $client->stats(['misc', 'items', 'slabs']) });
ask($client, 'flush', 'flush_all');
ask($client, 'get flushed', 'get', 'z');
