#!/usr/bin/env python3
"""Does what README.md says, as it stands there, in a Debian root with nothing but make, a C compiler and Rust,
and compares what is printed with what README.md shows. It says how long each block of commands took.

The word behind the three backticks of a block is its language, for whoever shows README.md; those behind it say
where it belongs:

    sh                      commands at the main shell, which have to succeed
    sh service              the same; afterwards the service runs
    sh terminal=NAME        a program that runs on, in a terminal of that name, instead of what ran there before
    console                 commands behind "$ ", and what each of them prints
    console terminal=NAME   one that runs on, and what it prints once the next block is done
    console member          the same by a user who has joined the group of the service
    text shows=NAME,...     shown there
    text dialog=NAME        typed and shown by turns

toml and rust are put together to a program, which has to compile; yaml is a file of systemd/monitoring, word for word.

    BASE=folder     a root that debootstrap has made already; it is copied
    MIRROR, SUITE   of Debian
"""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time

DEADLINE_S = 20
# The longest block builds everything and runs the tests.
BLOCK_S = 3600
ANSWERS = ("CLACKS ", "OVERHEAD E", "OVERHEAD M", "OVERHEAD O", "RETRIEVED ", "NOTRETRIEVED ")
SOURCES = "/root/clacksd"
MONITORING = "systemd/monitoring"
PACKAGES = ["make", "gcc", "libc6-dev", "ca-certificates"]
# There is no systemd in charge; what it would do when the service is started.
START_SERVICE = r"""
unit=$(ls /usr/local/lib/systemd/system/clacksd.service /usr/lib/systemd/system/clacksd.service 2>/dev/null | head -n 1)
program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
. /etc/default/clacksd
install -d -o clacksd -g clacksd /run/clacksd
install -d -o clacksd -g clacksd -m 0700 /var/lib/clacksd
exec setpriv --reuid clacksd --regid clacksd --clear-groups "$program" $CLACKSD_FLAGS
"""


def fail(what):
    sys.exit(f"FAILED: {what}")


class Block:
    def __init__(self, number, info):
        self.number = number
        self.language, *words = info.split() or [""]
        self.words = dict(word.partition("=")[::2] for word in words)
        self.lines = []

    def __str__(self):
        return f"README.md:{self.number}: {self.lines[0] if self.lines else ''}"

    def names(self, word):
        return self.words[word].split(",")


def parse(text):
    blocks, block = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if block is None and line.startswith("```"):
            block = Block(number + 1, line[3:])
        elif line == "```":
            blocks.append(block)
            block = None
        elif block is not None:
            block.lines.append(line)
        elif line.startswith("    "):
            fail(f"README.md:{number}: a block without backticks, which nobody would try")
    return blocks


class Root:
    """The Debian root, and processes in it."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="clacksd-readme.", dir="/var/tmp")
        self.path = os.path.join(self.work, "root")
        self.mounted = []

    def make(self):
        suite, mirror = os.environ.get("SUITE", "bookworm"), os.environ.get("MIRROR")
        if base := os.environ.get("BASE"):
            subprocess.run(["cp", "-a", base, self.path], check=True)
        else:
            command = ["debootstrap", "--variant=minbase", suite, self.path] + ([mirror] if mirror else [])
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        # Tests that mount something for themselves want the root to be a mount.
        subprocess.run(["mount", "--bind", self.path, self.path], check=True)
        self.mounted.append(self.path)
        for place in ["proc", "dev", "sys"]:
            target = os.path.join(self.path, place)
            subprocess.run(["mount", "--rbind", "--make-rslave", "/" + place, target], check=True)
            self.mounted.append(target)
        self.write("etc/apt/apt.conf.d/yes", 'APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n')
        # Who has no sudo is root already.
        self.write("usr/local/bin/sudo", '#!/bin/sh\nexec "$@"\n', 0o755)
        self.copy_sources()
        self.run("apt-get -q update && apt-get -q install " + " ".join(PACKAGES))
        self.copy_rust()

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.path, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)

    def copy_rust(self):
        """The toolchain of this machine, and the crates that it has fetched already."""
        sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout
        shutil.copytree(sysroot.strip(), self.path + "/opt/rust", symlinks=True)
        registry = os.path.join(os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo")), "registry")
        for part in ["index", "cache"]:
            if os.path.isdir(os.path.join(registry, part)):
                shutil.copytree(os.path.join(registry, part), f"{self.path}/root/.cargo/registry/{part}")
        authorities = "/etc/ssl/certs/ca-certificates.crt"
        if os.path.exists(authorities):
            shutil.copy(authorities, self.path + authorities)

    def copy_sources(self):
        files = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout
        os.makedirs(self.path + SOURCES)
        archive = subprocess.Popen(["tar", "-c", "--null", "-T", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        extract = subprocess.Popen(["tar", "-x", "-C", self.path + SOURCES], stdin=archive.stdout)
        archive.stdin.write(files)
        archive.stdin.close()
        if archive.wait() != 0 or extract.wait() != 0:
            fail("the sources can't be copied")

    def command(self, arguments):
        variables = ["HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "TERM=dumb",
                     "PATH=/root/.cargo/bin:/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        inside = 'cd "$0" && exec "$@"'
        return ["chroot", self.path, "env", "-i", *variables, "sh", "-c", inside, SOURCES, *arguments]

    def run(self, script):
        done = subprocess.run(self.command(["sh", "-ec", script]), capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"{script}: {done.stdout}{done.stderr}")
        return done.stdout

    def remove(self):
        for target in reversed(self.mounted):
            subprocess.run(["umount", "-R", target], check=False)
        if all(not os.path.ismount(target) for target in self.mounted):
            shutil.rmtree(self.work)


class Terminal:
    """A program at a terminal that shows nothing of what is typed."""

    def __init__(self, root, arguments):
        self.master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.process = subprocess.Popen(root.command(arguments), stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True)
        os.close(slave)
        self.lines, self.rest, self.read_up_to, self.has_ended = [], "", 0, False
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            with self.changed:
                *lines, self.rest = (self.rest + data.decode(errors="replace").replace("\r", "")).split("\n")
                self.lines += lines if data else [*lines, self.rest]
                self.has_ended = not data
                self.changed.notify_all()
            if not data:
                return

    def type(self, line):
        os.write(self.master, (line + "\n").encode())

    def wait_for(self, end, seconds=DEADLINE_S):
        """The next line that ends so, behind those that were waited for already."""
        def found():
            places = range(self.read_up_to, len(self.lines))
            return next((place + 1 for place in places if self.lines[place].endswith(end)), None)
        with self.changed:
            self.changed.wait_for(lambda: found() or self.has_ended, seconds)
            place = found()
            if place is None:
                fail(f"{end!r} is not shown, but: {self.lines[-20:]}")
            self.read_up_to = place
            return self.lines[place - 1]

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(DEADLINE_S)


class Readme:
    """The blocks, one after the other."""

    def __init__(self, root, blocks):
        self.root, self.blocks = root, blocks
        self.terminals, self.replaced, self.flushes = {}, [], 0
        self.program, self.expected = [], None
        self.shell = self.start_shell()

    def start_shell(self):
        return subprocess.Popen(self.root.command(["bash"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, bufsize=1, start_new_session=True)

    def try_all(self):
        for place, block in enumerate(self.blocks):
            start = time.monotonic()
            block.lines = [self.replace(line) for line in block.lines]
            before = self.blocks[place - 1]
            ran_on = self.terminals.get(before.words.get("terminal")) if before.language == "sh" else None
            self.try_block(block)
            if ran_on and ran_on.has_ended:
                fail(f"{before}: has ended by itself: {ran_on.lines[-20:]}")
            print(f"{time.monotonic() - start:7.1f} s  {block}", flush=True)

    def replace(self, line):
        for old, new in self.replaced:
            line = line.replace(old, new)
        return line

    def try_block(self, block):
        kind = (block.language, *block.words)
        if kind in [("sh",), ("sh", "service")]:
            self.run_commands(block)
        elif kind == ("sh", "terminal"):
            self.run_on(block)
        elif kind == ("console",):
            self.compare(block.lines, self.ask)
            self.check_expected(lambda: self.compare(block.lines, self.ask))
        elif kind == ("console", "terminal"):
            command, *lines = block.lines
            self.start(block.words["terminal"], command.removeprefix("$ "))
            self.expected = (self.terminals[block.words["terminal"]], lines)
        elif kind == ("console", "member"):
            self.root.run("id member 2> /dev/null || useradd --create-home --groups clacksd member")
            self.compare(block.lines, self.ask_as_member)
        elif kind == ("text", "shows"):
            for name in block.names("shows"):
                for line in block.lines:
                    self.terminals[name].wait_for(line)
        elif kind == ("text", "dialog"):
            self.talk(self.terminals[block.words["dialog"]], block.lines)
        elif kind in [("toml",), ("rust",)]:
            self.compile(block)
        elif kind == ("yaml",):
            self.find_file(block)
        else:
            fail(f"{block}: a block of an unknown kind, {kind}")

    def ask(self, command):
        """What the shell prints."""
        end = "end of it"
        self.shell.stdin.write(f"{command}\necho {end}\n")
        printed = []
        while not printed or printed[-1] != end:
            line = self.shell.stdout.readline()
            if not line:
                fail(f"the shell has ended: {printed}")
            printed.append(line.rstrip("\r\n"))
        return printed[:-1]

    def ask_as_member(self, command):
        done = subprocess.run(self.root.command(["su", "-l", "member", "-c", command]), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.splitlines()

    def run_commands(self, block):
        lines = block.lines
        if "service" in block.words:
            lines = [line for line in lines if "systemctl" not in line]
        self.root.write("tmp/block", "\n".join(lines) + "\n")
        printed = self.ask("trap 'echo failed: \"$BASH_COMMAND\"' ERR; . /tmp/block; trap - ERR")
        if any(line.startswith("failed: ") for line in printed):
            fail(f"{block}:\n" + "\n".join(self.around_failure(printed)))
        # On a bare machine, programs that some tests need are missing.
        if "make test" in block.lines and not self.lists_what_was_not_tried(printed):
            fail(f"{block}: no list of what was not tried:\n" + "\n".join(printed[-20:]))
        print("".join(f"             | {line}\n" for line in self.worth_showing(block, printed)), end="")
        if "service" in block.words:
            self.start("service", START_SERVICE)
            self.terminals["service"].wait_for("ready")

    @staticmethod
    def around_failure(printed):
        """The last lines, or all from the first list of failed tests on."""
        failures = printed.index("failures:") if "failures:" in printed else len(printed)
        return printed[min(failures, max(len(printed) - 60, 0)):]

    @staticmethod
    def lists_what_was_not_tried(printed):
        """Tests below a line that says what they lack, and the command that installs it."""
        heads = [place for place, line in enumerate(printed) if line.startswith("Not tried here, for want of ")]
        listed = all("".join(printed[place + 1:place + 2]).startswith("    ") for place in heads)
        return bool(heads) and listed and any(line.startswith("To try them: apt-get install ") for line in printed)

    @staticmethod
    def worth_showing(block, printed):
        if "make test" in block.lines:
            start = max((place for place, line in enumerate(printed) if line.startswith("test result:")), default=0)
            return printed[start:]
        return []

    def compare(self, lines, ask):
        place = 0
        while place < len(lines):
            command, place = lines[place].removeprefix("$ "), place + 1
            shown = []
            while place < len(lines) and not lines[place].startswith("$ "):
                shown.append(lines[place])
                place += 1
            printed = ask(command)
            if printed != shown:
                fail(f"{command}: prints {printed}, not {shown}")

    def check_expected(self, again):
        """What runs on in a terminal may not have been ready when the block after it was done for the first time."""
        if self.expected is None:
            return
        (terminal, lines), self.expected = self.expected, None
        until = time.monotonic() + DEADLINE_S
        while not set(lines) <= set(terminal.lines):
            if time.monotonic() > until:
                fail(f"{lines} are not shown, but: {terminal.lines}")
            again()
        terminal.end()

    def start(self, name, script):
        if name in self.terminals:
            self.terminals[name].end()
        exported = self.ask("export -p")
        self.terminals[name] = Terminal(self.root, ["bash", "-c", "\n".join([*exported, script])])

    def run_on(self, block):
        script = "\n".join(block.lines)
        for name in block.names("terminal"):
            self.start(name, script)
            if "make run" in script:
                self.terminals[name].wait_for("ready", BLOCK_S)
                self.take_login(self.terminals[name])

    def take_login(self, terminal):
        """What README.md shows in place of the login that was made up."""
        shown = "\n".join(terminal.lines)
        password = re.search(r"user clacks, password (\S+)", shown)
        token = re.search(r"OVERHEAD A (\S+)", shown)
        if not password or not token:
            fail(f"no login is made up: {shown}")
        self.replaced = [("Y2xhY2tz:c2VjcmV0", token[1]), ("CLACKS_PASSWORD=secret", f"CLACKS_PASSWORD={password[1]}")]

    def talk(self, terminal, lines):
        for line in lines:
            (terminal.wait_for if line.startswith(ANSWERS) else terminal.type)(line)
        if not lines[-1].startswith(ANSWERS):
            # The next terminal is typed at when the server has done this.
            self.flushes += 1
            terminal.type(f"FLUSH readme-{self.flushes}")
            terminal.wait_for(f"FLUSHED readme-{self.flushes}")

    def compile(self, block):
        self.program.append(block)
        if block.language == "toml":
            return
        manifest, program = self.program[-2:]
        folder = "/root/readme"
        os.makedirs(f"{self.root.path}{folder}/src", exist_ok=True)
        head = '[package]\nname = "lamp"\nversion = "0.1.0"\nedition = "2024"\n\n[dependencies]\n'
        self.root.write(folder[1:] + "/Cargo.toml", head + "\n".join(manifest.lines) + "\n")
        self.root.write(folder[1:] + "/src/main.rs", "\n".join(program.lines) + "\n")
        self.root.run(f"cd {folder} && cargo check")

    @staticmethod
    def find_file(block):
        """The file of systemd/monitoring that has just these lines, but for comments."""
        for name in os.listdir(MONITORING):
            with open(os.path.join(MONITORING, name)) as file:
                lines = [line for line in file.read().splitlines() if not line.startswith("#")]
            if lines == block.lines:
                return
        fail(f"{block}: no file of {MONITORING} says so")

    def end(self):
        for terminal in self.terminals.values():
            terminal.end()
        # With whatever it runs, if this was interrupted.
        os.killpg(self.shell.pid, signal.SIGTERM)
        self.shell.wait(DEADLINE_S)


def main():
    if os.geteuid() != 0:
        sys.exit("only root can do this")
    if not os.environ.get("BASE") and not shutil.which("debootstrap"):
        sys.exit("debootstrap is missing: apt-get install debootstrap")
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open("README.md") as file:
        blocks = parse(file.read())
    root = Root()
    try:
        start = time.monotonic()
        root.make()
        print(f"{time.monotonic() - start:7.1f} s  a Debian root with {', '.join(PACKAGES)} and Rust", flush=True)
        readme = Readme(root, blocks)
        try:
            readme.try_all()
        finally:
            readme.end()
        print(f"{time.monotonic() - start:7.1f} s  altogether")
    finally:
        root.remove()


main()
