# Prints what the calls of a client return or die of, one line each, without ports.
package Outcomes;
use strict;
use warnings;
use Exporter 'import';
use JSON::PP;
our @EXPORT = qw(outcome ask everything $server $large);

our $server = "$ARGV[0]:$ARGV[1]";
our $large = 'x' x (2 * 1024 * 1024);
my $json = JSON::PP->new->canonical->allow_nonref->ascii;
$| = 1;

sub outcome {
    my ($name, $call) = @_;
    my @result = eval { $call->() };
    my $text = $@ ? "died: $@" : $json->encode([map { defined $_ ? (ref $_ ? $_ : "$_") : undef } @result]);
    $text = substr($text, 0, 100) . '... (' . length($text) . ')' if length $text > 200;
    chomp $text;
    $text =~ s/$ARGV[1]/PORT/g;
    print "$name: $text\n";
}

sub ask {
    my ($client, $name, $method, @arguments) = @_;
    outcome($name, sub { scalar $client->$method(@arguments) });
}

# What both of Perl's clients can do.
sub everything {
    my ($client) = @_;
    ask($client, 'flush', 'flush_all');
    ask($client, 'set', 'set', 'k', 'one');
    ask($client, 'get', 'get', 'k');
    ask($client, 'set number', 'set', 'n', 5);
    ask($client, 'set structure', 'set', 's', { a => [1, 2] }, 100);
    ask($client, 'get structure', 'get', 's');
    ask($client, 'set bytes', 'set', 'y', "\0\r\n\xff");
    ask($client, 'get bytes', 'get', 'y');
    ask($client, 'set that has expired', 'set', 'p', 'x', -1);
    ask($client, 'get what has expired', 'get', 'p');
    ask($client, 'add', 'add', 'k', 'two');
    ask($client, 'add new', 'add', 'new', 'two');
    ask($client, 'replace', 'replace', 'k', 'three');
    ask($client, 'replace nothing', 'replace', 'none', 'x');
    ask($client, 'append', 'append', 'k', '4');
    ask($client, 'prepend', 'prepend', 'k', '2');
    ask($client, 'several', 'get_multi', 'k', 'n', 'none');
    ask($client, 'incr', 'incr', 'n', 37);
    ask($client, 'decr', 'decr', 'n', 2);
    ask($client, 'decr below', 'decr', 'n', 200);
    ask($client, 'incr nothing', 'incr', 'none', 1);
    ask($client, 'incr text', 'incr', 'k', 1);
    ask($client, 'delete', 'delete', 'k');
    ask($client, 'delete nothing', 'delete', 'k');
    # In silence, as everything in a void context.
    $client->set('q', 'x');
    ask($client, 'get silent', 'get', 'q');
    $client->delete('q');
    ask($client, 'get deleted in silence', 'get', 'q');
    ask($client, 'large value', 'set', 'large', $large);
    ask($client, 'get large value', 'get', 'large');
    ask($client, 'after the error', 'set', 'k', 'x');
    # Not checked: one error with a second one behind it.
    ask($client, 'key with a blank', 'set', 'a b', 'v');
    ask($client, 'after the next error', 'set', 'k', 'x');
    ask($client, 'after that', 'get', 'k');
}

1;
