#!/bin/bash
# The Debian package in a Debian root of its own: install, log in, restart and
# upgrade under connecting clients, remove, purge; then the files there are
# compared with those before. Where systemd-nspawn can boot the root, the units
# run under a real systemd with all their restrictions; elsewhere the daemon is
# started by hand, and it is said that the units were not tried.
#
#   TARGET=folder   cargo's, with debian/clacksd_*.deb in it (make deb)
#   MIRROR, SUITE   of Debian
#   BASE=folder     a root that debootstrap has made already; it is copied
#   MODE=chroot     don't try to boot
set -euo pipefail

TARGET=${TARGET:-target}
# Without one, debootstrap takes its own.
MIRROR=${MIRROR:-}
SUITE=${SUITE:-bookworm}

if [ "$(id -u)" -ne 0 ]; then echo "only root can do this" >&2; exit 1; fi
if ! command -v debootstrap > /dev/null; then
    echo "debootstrap is missing: apt-get install debootstrap systemd-container" >&2
    exit 1
fi
packages=("$TARGET"/debian/clacksd_*.deb)
if [ ${#packages[@]} -ne 1 ] || [ ! -e "${packages[0]}" ]; then
    echo "there is not exactly one $TARGET/debian/clacksd_*.deb: make deb" >&2
    exit 1
fi

work=$(mktemp -d /var/tmp/clacksd-package.XXXXXX)
root=$work/root
cleanup() {
    for place in proc dev sys; do
        if mountpoint -q "$root/$place"; then umount -R "$root/$place"; fi
    done
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

if [ -n "${BASE:-}" ]; then
    cp -a "$BASE" "$root"
else
    echo "debootstrap $SUITE${MIRROR:+ from $MIRROR}"
    debootstrap --variant=minbase "$SUITE" "$root" ${MIRROR:+"$MIRROR"} > "$work/debootstrap.log" 2>&1 ||
        { tail "$work/debootstrap.log" >&2; exit 1; }
fi
# What the package depends on comes first, since it is to stay; nc is the client.
chroot "$root" apt-get -qq update
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qq install -y --no-install-recommends \
    systemd systemd-sysv dbus procps netcat-openbsd logrotate > "$work/apt.log" 2>&1 ||
    { tail "$work/apt.log" >&2; exit 1; }

# Two versions of the package: the second one is the first with another number.
mkdir "$root/packages"
cp "${packages[0]}" "$root/packages/first.deb"
dpkg-deb -R "${packages[0]}" "$work/second"
sed -i 's/^Version: .*/&+second/' "$work/second/DEBIAN/control"
dpkg-deb -b --root-owner-group "$work/second" "$root/packages/second.deb" > /dev/null

cat > "$root/packages/inside" <<'INSIDE'
#!/bin/bash
# Runs in the root; says "booted" if systemd is in charge.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
if [ -d /run/systemd/system ]; then booted=yes; else booted=; fi
started=
hammering=
socket=/run/clacksd/clacksd.sock

say() { echo "-- $*"; }
fail() { echo "FAILED: $*"; [ -z "$booted" ] || journalctl -u clacksd -n 20 --no-pager || true; exit 1; }
trap 'echo "FAILED in line $LINENO"; [ -z "$hammering" ] || kill $hammering; [ -z "$started" ] || kill $started' ERR

# What apt and dpkg themselves keep, and the copies that passwd's tools make,
# are no part of the package.
snapshot() {
    find / -xdev \( -path /packages -o -path /proc -o -path /sys -o -path /dev -o -path /tmp \
        -o -path /var/tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/apt \
        -o -path /var/lib/dpkg -o -path '/etc/*-' -o -path /etc/.pwd.lock \
        -o -path /var/lib/systemd -o -path /run \) -prune \
        -o ! -type d -printf '%y %m %U:%G %p %l ' \
        \( -type f -exec sh -c 'sha256sum < "$1"' _ {} \; -o -printf '\n' \) \
        -o -type d -printf '%y %m %U:%G %p\n' | sort
    find /run /var/lib/systemd /var/cache /var/log /var/lib/dpkg -name '*clacksd*' \
        ! -path '/run/systemd/*' ! -path '/run/log/*' | sort
    getent passwd; getent group
}

log_in() {
    local token
    token=$(printf %s clacks | base64 -w0):$(head -n 1 /etc/clacksd/password | tr -d '\n' | base64 -w0)
    printf 'OVERHEAD A %s\r\nSTORE a=1\r\nRETRIEVE a\r\n' "$token" | nc -N -U "$socket" > /tmp/answer ||
        fail "nobody is at $socket"
    grep -q '^RETRIEVED a=1' /tmp/answer || fail "no answer but: $(cat /tmp/answer)"
}

# The bridge's user may write, and nothing else.
log_in_as_bridge() {
    local token
    token=$(printf %s clacks-pg | base64 -w0):$(tr -d '\n' < /etc/clacksd/clacks-pg.password | base64 -w0)
    printf 'OVERHEAD A %s\r\nSTORE a=2\r\nRETRIEVE a\r\n' "$token" | nc -N -U "$socket" > /tmp/answer ||
        fail "nobody is at $socket"
    grep -q '^OVERHEAD O ' /tmp/answer || fail "the bridge's user can't log in: $(cat /tmp/answer)"
    [ "$(grep -c permission_denied /tmp/answer)" = 1 ] || fail "other permissions: $(cat /tmp/answer)"
}

daemon() { if [ -n "$booted" ]; then systemctl show -P MainPID clacksd; else echo "$started"; fi; }

start_by_hand() {
    . /etc/default/clacksd
    setpriv --reuid clacksd --regid clacksd --clear-groups \
        /usr/sbin/clacksd $CLACKSD_FLAGS 2> /tmp/clacksd.log &
    started=$!
    for _ in $(seq 100); do [ ! -S "$socket" ] || return 0; sleep 0.1; done
    fail "it doesn't start: $(cat /tmp/clacksd.log)"
}

stop_by_hand() { kill "$started"; wait "$started"; started=; }

# Connects all the time; a line for each that was refused.
hammer() {
    : > /tmp/refused; : > /tmp/connected
    while [ ! -e /tmp/enough ]; do
        if : | nc -N -U "$socket" > /dev/null 2>> /tmp/refused; then echo >> /tmp/connected
        else echo refused >> /tmp/refused; fi
    done
}
start_hammer() { rm -f /tmp/enough; hammer & hammering=$!; }
stop_hammer() {
    touch /tmp/enough; wait "$hammering"; hammering=
    local refused connected
    refused=$(grep -c refused /tmp/refused || true); connected=$(wc -l < /tmp/connected)
    say "$1: $connected connected, $refused refused"
    [ "$refused" = 0 ] && [ "$connected" -gt 10 ] || fail "refused: $(sort /tmp/refused | uniq -c)"
}

if [ -n "$booted" ]; then say "booted: $(systemctl --version | head -n 1)"; else say "not booted"; fi
snapshot > /packages/before

say "install"
apt-get -q install -y /packages/first.deb > /tmp/install.log 2>&1 || fail "$(cat /tmp/install.log)"
grep '^clacksd: ' /tmp/install.log
grep -q '/etc/clacksd/password' /tmp/install.log || fail "where the password is isn't said"
grep -q "$socket only" /tmp/install.log || fail "where it listens isn't said"
[ "$(stat -c '%a %U:%G' /etc/clacksd/password)" = "640 root:clacksd" ] || fail "mode of the password"
[ "$(stat -c '%a %U:%G' /etc/clacksd)" = "750 root:clacksd" ] || fail "mode of /etc/clacksd"
[ "$(head -n 1 /etc/clacksd/password | wc -c)" = 25 ] || fail "length of the password"
if grep -qF "$(head -n 1 /etc/clacksd/password)" /tmp/install.log; then fail "the password is shown"; fi
for file in users clacks-pg.password; do
    [ "$(stat -c '%a %U:%G' /etc/clacksd/$file)" = "640 root:clacksd" ] || fail "mode of $file"
done

logrotate --state /tmp/rotated --debug /etc/logrotate.d/clacksd > /tmp/rotation 2>&1 || fail "$(cat /tmp/rotation)"

if [ -n "$booted" ]; then
    systemctl is-active -q clacksd.socket clacksd.service || fail "not started"
    systemctl is-enabled -q clacksd.socket clacksd.service || fail "not enabled"
    say "socket: $(stat -c '%a %U:%G' $socket), folder: $(stat -c '%a %U:%G' /run/clacksd)"
    [ "$(stat -c '%a %G' $socket)" = "660 clacksd" ] || fail "mode of the socket"
    say "$(systemd-analyze security --no-pager clacksd | tail -n 1)"
else
    start_by_hand
fi
log_in
log_in_as_bridge
# Who is in the group needs neither flags nor a password.
useradd --create-home --groups clacksd member
su -l member -c 'clacks store b 3 && clacks retrieve b' > /tmp/answer 2>&1 || fail "$(cat /tmp/answer)"
[ "$(cat /tmp/answer)" = 3 ] || fail "no answer but: $(cat /tmp/answer)"
userdel --remove member 2> /dev/null
ls -l /proc/"$(daemon)"/fd | grep -o 'socket:\[[0-9]*\]' | tr -dc '0-9\n' > /tmp/inodes
if grep -qwFf /tmp/inodes /proc/net/tcp /proc/net/tcp6; then fail "it listens on a port"; fi
if tr '\0' '\n' < /proc/"$(daemon)"/cmdline | grep -qF "$(head -n 1 /etc/clacksd/password)"; then
    fail "the password is an argument"
fi

if [ -n "$booted" ]; then
    say "status: $(systemctl show -P StatusText clacksd)"
    systemctl show -P StatusText clacksd | grep -q '^clients: ' || fail "no status"
    pid=$(daemon)
    # Another password counts after a reload, for the daemon reads the file itself.
    cp -p /etc/clacksd/password /etc/clacksd/password.old
    echo another > /etc/clacksd/password
    systemctl reload clacksd
    log_in
    [ "$(daemon)" = "$pid" ] || fail "a reload is no restart"
    cat /etc/clacksd/password.old > /etc/clacksd/password
    rm /etc/clacksd/password.old
    systemctl reload clacksd
    log_in
    journalctl -u clacksd -o cat --no-pager | grep -q '^read again: ' || fail "no log of the reload"
    journalctl -u clacksd -p warning -o cat --no-pager > /tmp/warnings
    if grep -v '^closed ' /tmp/warnings; then fail "warnings"; fi
    if journalctl -u clacksd -o cat --no-pager | grep '^<[0-9]>\|INFO'; then fail "doubled levels"; fi

    # A log of --log-file is rotated, and the daemon goes on in a new file.
    cp /etc/default/clacksd /tmp/default
    sed -i 's|^CLACKSD_FLAGS="|&--log-file /var/log/clacksd/clacksd.log |' /etc/default/clacksd
    systemctl restart clacksd
    logrotate --state /tmp/rotated --force /etc/logrotate.d/clacksd || fail "no rotation"
    for _ in $(seq 100); do
        if grep -q ' read again: ' /var/log/clacksd/clacksd.log; then break; fi; sleep 0.1
    done
    grep -q ' read again: ' /var/log/clacksd/clacksd.log || fail "no new log"
    grep -q ' ready$' /var/log/clacksd/clacksd.log.1 || fail "no old log"
    say "logs: $(stat -c '%a %U:%G %n' /var/log/clacksd /var/log/clacksd/* | tr '\n' ' ')"
    cat /tmp/default > /etc/default/clacksd
    systemctl reset-failed; systemctl restart clacksd
    pid=$(daemon)

    start_hammer
    # reset-failed, since systemd limits how often in 10 seconds it starts a unit.
    for _ in 1 2 3 4 5; do sleep 0.5; systemctl reset-failed; systemctl restart clacksd; done
    sleep 0.5
    stop_hammer "5 restarts"
    [ "$(daemon)" != "$pid" ] || fail "no restart"
    # One that is stuck is noticed and started anew.
    mkdir -p /run/systemd/system/clacksd.service.d
    printf '[Service]\nWatchdogSec=2\n' > /run/systemd/system/clacksd.service.d/test.conf
    systemctl daemon-reload; systemctl reset-failed; systemctl restart clacksd
    pid=$(daemon); sleep 5
    [ "$(daemon)" = "$pid" ] || fail "the watchdog misses its signs of life"
    kill -STOP "$pid"
    for _ in $(seq 100); do
        if systemctl is-active -q clacksd && [ "$(daemon)" != "$pid" ]; then break; fi; sleep 0.1
    done
    [ "$(daemon)" != "$pid" ] || fail "the watchdog sleeps"
    say "the watchdog has replaced a server that was stuck"
    rm -r /run/systemd/system/clacksd.service.d
    systemctl daemon-reload; systemctl reset-failed; systemctl restart clacksd
    # Without the socket unit the daemon opens the socket by itself.
    systemctl stop clacksd.socket clacksd; systemctl mask -q --runtime clacksd.socket
    systemctl start clacksd; log_in
    say "without the socket unit: $(journalctl -u clacksd -o cat --no-pager | grep '^listening' | tail -n 1)"
    systemctl stop clacksd; systemctl unmask -q --runtime clacksd.socket
    systemctl start clacksd; log_in
    systemctl is-active -q clacksd.socket || fail "the service doesn't pull the socket in"
    # A port, as the comment in the socket unit tells it.
    sed -n '/^#     \[Socket\]/,/^#     WantedBy/s/^# *//p' /usr/lib/systemd/system/clacksd.socket \
        > /etc/systemd/system/clacksd-tcp.socket
    sed -n 's/^#     \(systemctl\)/\1/p' /usr/lib/systemd/system/clacksd.socket > /tmp/commands
    [ "$(wc -l < /tmp/commands)" = 3 ] || fail "the comment has other commands"
    systemctl daemon-reload; systemctl reset-failed; sh -e /tmp/commands 2> /dev/null
    log_in
    : | nc -N 127.0.0.1 49888 | grep -q '^CLACKS ' || fail "nobody is at the port"
    say "a port by a socket unit: $(journalctl -u clacksd -o cat --no-pager | grep '^listening' | tail -n 2 | sort | head -n 1)"
    systemctl stop clacksd.socket clacksd-tcp.socket clacksd
    systemctl disable -q clacksd-tcp.socket; rm /etc/systemd/system/clacksd-tcp.socket
    systemctl daemon-reload; systemctl reset-failed; systemctl start clacksd
    log_in
fi

say "upgrade"
sed -i 's/^CLACKSD_FLAGS="/&--max-clients 100 /' /etc/default/clacksd
cat /etc/default/clacksd /etc/clacksd/password > /tmp/configuration
pid=$(daemon)
[ -z "$booted" ] || start_hammer
apt-get -q install -y /packages/second.deb > /tmp/upgrade.log 2>&1 || fail "$(cat /tmp/upgrade.log)"
[ -z "$booted" ] || stop_hammer "upgrade"
dpkg-query -W -f '${Version}\n' clacksd | grep -q second || fail "no upgrade"
cat /etc/default/clacksd /etc/clacksd/password | cmp - /tmp/configuration || fail "configuration is lost"
if [ -n "$booted" ]; then
    [ "$(daemon)" != "$pid" ] || fail "the old daemon runs on"
else
    stop_by_hand; start_by_hand
fi
tr '\0' ' ' < /proc/"$(daemon)"/cmdline | grep -q 'max-clients 100' || fail "other flags"
log_in

say "remove"
pid=$(daemon)
[ -n "$booted" ] || stop_by_hand
apt-get -q remove -y clacksd > /tmp/remove.log 2>&1 || fail "$(cat /tmp/remove.log)"
[ ! -e "/proc/$pid" ] || fail "the daemon runs on"
[ ! -e "$socket" ] || fail "the socket is left"
[ -e /etc/clacksd/password ] && [ -e /etc/default/clacksd ] || fail "configuration is lost"

say "install again"
cp -p /etc/clacksd/password /tmp/password
apt-get -q install -y /packages/second.deb > /tmp/again.log 2>&1 || fail "$(cat /tmp/again.log)"
cmp /etc/clacksd/password /tmp/password || fail "another password"
[ -n "$booted" ] || start_by_hand
log_in
[ -n "$booted" ] || stop_by_hand
[ -z "$booted" ] || systemctl stop clacksd.socket clacksd

say "purge"
apt-get -q purge -y clacksd > /tmp/purge.log 2>&1 || fail "$(cat /tmp/purge.log)"
if grep -i warning /tmp/purge.log; then fail "warnings"; fi
snapshot > /packages/after
diff /packages/before /packages/after || fail "this is left"
say "nothing is left behind"
echo DONE
INSIDE
chmod 755 "$root/packages/inside"

report=$root/packages/report
if [ "${MODE:-}" != chroot ] && command -v systemd-nspawn > /dev/null; then
    cat > "$root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/packages/inside
StandardOutput=truncate:/packages/report
StandardError=inherit
TimeoutStartSec=240
UNIT
    mkdir -p "$root/etc/systemd/system/default.target.wants"
    ln -s ../inside.service "$root/etc/systemd/system/default.target.wants/"
    rm -f "$root/etc/machine-id"
    timeout 300 systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit \
        --private-network > "$work/boot.log" 2>&1 || true
    if [ -s "$report" ]; then
        cat "$report"
        tail -n 1 "$report" | grep -qx DONE
        exit
    fi
    echo "systemd-nspawn cannot boot here, so the units are not tried:"
    tail -n 3 "$work/boot.log"
fi

for place in proc dev sys; do mount --rbind --make-rslave "/$place" "$root/$place"; done
chroot "$root" /packages/inside | tee "$report"
tail -n 1 "$report" | grep -qx DONE
