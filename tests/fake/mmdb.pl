# Writes a small database in MaxMind's format, for tests/flow/test_geo.py:
#   perl mmdb.pl OUT {flat|maxmind|asn} NETWORK=WORDS ...
# WORDS: "FR" (flat), "FR,EU,IDF" (country, continent, subdivision), "64500" (asn)
use strict;
use warnings;
use MaxMind::DB::Writer::Tree;

my ($out, $shape, @rows) = @ARGV;
my %types = (
    country_code => 'utf8_string', iso_code => 'utf8_string', code => 'utf8_string',
    country => 'map', continent => 'map', subdivisions => ['array', 'map'],
    autonomous_system_number => 'uint32',
);
my $tree = MaxMind::DB::Writer::Tree->new(
    ip_version => 6, record_size => 24, database_type => "test-$shape", languages => ['en'],
    description => {en => 'made by a test'}, remove_reserved_networks => 0, alias_ipv6_to_ipv4 => 1,
    map_key_type_callback => sub { $types{$_[0]} },
);
for my $row (@rows) {
    my ($network, $words) = split /=/, $row;
    my @words = split /,/, $words;
    my $record = $shape eq 'flat' ? {country_code => $words[0]}
        : $shape eq 'asn' ? {autonomous_system_number => $words[0]}
        : {country => {iso_code => $words[0]},
           $words[1] ? (continent => {code => $words[1]}) : (),
           $words[2] ? (subdivisions => [{iso_code => $words[2]}]) : ()};
    $tree->insert_network($network, $record);
}
open my $file, '>:raw', $out or die "$out: $!";
$tree->write_tree($file);
close $file or die "$out: $!";
