# clacksd: build, try out, test, install.
#
#   make              build target/release/clacksd and clacks (all)
#   make run          build and start it; FLAGS="…" are its flags
#   make test         run the tests
#   make sim          simulate trees of servers, 10,000 seeds (minutes);
#                     CLACKSD_SEEDS=n for another number, CLACKSD_SEED=n to replay one
#   make measure      measure latency, memory and turns under load, on a quiet
#                     machine (minutes)
#   make check        everything that has to pass before a change goes in
#   make completions  write the completions of bash, zsh and fish anew from the
#                     tables of commands and flags
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
SYSCONFDIR ?= /etc
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d

CARGO      ?= cargo
INSTALL    ?= install
# The folder that cargo builds in.
TARGET     := $(or $(CARGO_TARGET_DIR),target)
BINARY     := $(TARGET)/release/clacksd
CLIENT     := $(TARGET)/release/clacks
MANPAGES   := $(wildcard man/*.[178])

.PHONY: all run test sim measure check check-format check-clippy check-doc check-man \
        check-unit completions install uninstall clean help

all:
	$(CARGO) build --release

run:
	$(CARGO) run --release --bin clacksd -- $(FLAGS)

test:
	$(CARGO) test

sim:
	$(CARGO) test --release --test tests -- --ignored --nocapture \
	    simulation::trees_keep_their_guarantees_for_long

# Each prints its figures, and fails if they miss what is promised.
measure:
	$(CARGO) test --release --test tests -- --ignored --nocapture \
	    --test-threads=1 measurements

check: check-format check-clippy test check-doc check-man check-unit

check-format:
	$(CARGO) fmt --check

# The library without the daemon has to build without warnings too.
check-clippy:
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features -- -D warnings
	$(CARGO) clippy --no-default-features --features client -- -D warnings
	$(CARGO) clippy --no-default-features --features tool -- -D warnings

check-doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

check-man:
	mandoc -T lint -W warning $(MANPAGES)

# systemd-analyze wants the program of ExecStart= to exist and exits with 0
# after a mere warning. So a copy that names the built binary is verified, and
# any line of output that names our unit is a failure. --man=no, since the
# man pages need not be installed.
check-unit: all
	@set -eu; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	sed 's|^ExecStart=[^ ]*|ExecStart=$(abspath $(BINARY))|' \
	    systemd/clacksd.service > "$$dir/clacksd.service"; \
	echo "systemd-analyze verify systemd/clacksd.service"; \
	status=0; \
	systemd-analyze verify --man=no --recursive-errors=no \
	    "$$dir/clacksd.service" > "$$dir/output" 2>&1 || status=$$?; \
	if grep -F clacksd "$$dir/output"; then exit 1; fi; \
	if [ $$status -ne 0 ]; then cat "$$dir/output"; exit $$status; fi

completions:
	CLACKSD_WRITE_COMPLETIONS=1 $(CARGO) test --test tests -- completions::the_completions

# Deliberately without "all": root, who installs, has no cargo as a rule.
# An existing /etc/default/clacksd is the administrator's and stays.
install:
	@test -x $(BINARY) || { echo "$(BINARY) is missing: run make first" >&2; exit 1; }
	@test -x $(CLIENT) || { echo "$(CLIENT) is missing: run make first" >&2; exit 1; }
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 \
	    $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	$(INSTALL) -m 0755 $(CLIENT) $(DESTDIR)$(BINDIR)/clacks
	$(INSTALL) -m 0644 man/clacks.1 $(DESTDIR)$(MANDIR)/man1/
	$(INSTALL) -m 0644 src/tool/completions/clacks.bash $(DESTDIR)$(BASHDIR)/clacks
	$(INSTALL) -m 0644 src/tool/completions/clacks.zsh $(DESTDIR)$(ZSHDIR)/_clacks
	$(INSTALL) -m 0644 src/tool/completions/clacks.fish $(DESTDIR)$(FISHDIR)/clacks.fish
	$(INSTALL) -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(MANDIR)/man7 \
	    $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(UNITDIR) \
	    $(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(SYSCONFDIR)/default
	$(INSTALL) -m 0755 $(BINARY) $(DESTDIR)$(SBINDIR)/clacksd
	$(INSTALL) -m 0644 man/clacks-protocol.7 $(DESTDIR)$(MANDIR)/man7/
	$(INSTALL) -m 0644 man/clacksd.8 $(DESTDIR)$(MANDIR)/man8/
	sed -e 's|^ExecStart=[^ ]*|ExecStart=$(SBINDIR)/clacksd|' \
	    -e 's|/etc/|$(SYSCONFDIR)/|g' \
	    systemd/clacksd.service > $(DESTDIR)$(UNITDIR)/clacksd.service
	chmod 0644 $(DESTDIR)$(UNITDIR)/clacksd.service
	$(INSTALL) -m 0644 systemd/clacksd.sysusers \
	    $(DESTDIR)$(SYSUSERSDIR)/clacksd.conf
	test -e $(DESTDIR)$(SYSCONFDIR)/default/clacksd || \
	    $(INSTALL) -m 0644 systemd/clacksd.default \
	    $(DESTDIR)$(SYSCONFDIR)/default/clacksd

# A changed /etc/default/clacksd stays, and so do passwords and users.
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/clacks $(DESTDIR)$(MANDIR)/man1/clacks.1 \
	    $(DESTDIR)$(BASHDIR)/clacks $(DESTDIR)$(ZSHDIR)/_clacks \
	    $(DESTDIR)$(FISHDIR)/clacks.fish
	rm -f $(DESTDIR)$(SBINDIR)/clacksd \
	    $(DESTDIR)$(MANDIR)/man7/clacks-protocol.7 \
	    $(DESTDIR)$(MANDIR)/man8/clacksd.8 \
	    $(DESTDIR)$(UNITDIR)/clacksd.service \
	    $(DESTDIR)$(SYSUSERSDIR)/clacksd.conf
	if cmp -s systemd/clacksd.default $(DESTDIR)$(SYSCONFDIR)/default/clacksd; \
	then rm -f $(DESTDIR)$(SYSCONFDIR)/default/clacksd; fi

clean:
	$(CARGO) clean

help:
	@sed -n '/^$$/q;s/^# \{0,1\}//p' Makefile
