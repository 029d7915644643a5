#!/bin/bash
# YAML::Syck writes some texts so that another reader of YAML 1.1 takes them for numbers and dates.
#
# Expected: YAML::Syck quotes every Perl string that a reader of YAML 1.1, the version that it speaks, would take for
# something else than text. It does so for "yes", "null", "010" and "1e3".
# Seen: it writes "1:30", "1_000", "0x1f", "+5", ".5", ".inf" and "2026-01-02" without quotes. PyYAML, which reads
# YAML 1.1 too, makes 90, 1000, 31, 5, 0.5, infinity and a date of them. None of these but "+5" and ".5" is a number
# for Perl either.
#
# Versions: Debian's libyaml-syck-perl 1.34-2+deb12u2, PyYAML 6.0.2. Needs Debian 12 with perl and python3-venv or pip.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
apt-get -qq -o APT::Sandbox::User=root download libyaml-syck-perl=1.34-2+deb12u2
dpkg-deb -x libyaml-syck-perl_*.deb perl
python3 -m venv python
python/bin/pip -q --disable-pip-version-check install pyyaml==6.0.2

cat > write.pl <<'END'
use YAML::Syck;
print Dump(["yes", "null", "010", "1e3", "1:30", "1_000", "0x1f", "+5", ".5", ".inf", "2026-01-02"]);
END
cat > read.py <<'END'
import sys, yaml
for value in yaml.safe_load(sys.stdin):
    print(type(value).__name__, value)
END
PERL5LIB=$(dirname "$(dirname "$(find "$PWD/perl" -name Syck.pm -path '*YAML*')")")
export PERL5LIB
perl write.pl > written.yaml
cat written.yaml
python/bin/python read.py < written.yaml > seen

cat > wanted <<'END'
str yes
str null
str 010
str 1e3
int 90
int 1000
int 31
int 5
float 0.5
float inf
date 2026-01-02
END
diff wanted seen
cat seen
echo "as described"
