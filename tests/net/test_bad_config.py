"""What a configuration can have wrong, and what the administrator then reads: tund --check and a real start
say the same, one line a problem with the file and the line in it, and leave nothing behind.

No traffic. A start happens in a network namespace of its own, so that one that should not have
succeeded could not hurt.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lab import GATEWAY_NAME, PREFIX, die_with_parent, wait_until
from peers import DAEMON_USER, TUND
from pki import DAY, NOW, SERVER_AUTH, Authority, Corp

GATEWAY = """\
# A gateway.
gateway {{
    listen    = {{"127.0.0.1:4443"}}
    interface = "tund0"
    pool      = {{"10.99.0.0/24", "fd99::/64"}}
    routes    = {{"10.50.0.0/24"}}
    dpd       = "3s"
}}
daemon  {{ user = "{user}" }}
control {{ socket = "{dir}/control.sock" }}
state   {{ directory = "{dir}/state" }}
access "everyone" {{
    match     = {{"o=Corp"}}
    allow     = {{"0.0.0.0/0 any"}}
}}
identity {{
    certificate = "{certificate}"
    key         = "{key}"
}}
trust {{
    ca          = {{"{ca}"}}
}}
"""

CLIENT = """\
client {{
    gateway     = {{"vpn.corp.example:443"}}
    dns         = "off"
}}
daemon  {{ user = "{user}" }}
control {{ socket = "{dir}/control.sock" }}
state   {{ directory = "{dir}/state" }}
identity {{
    certificate = "{certificate}"
    key         = "{key}"
}}
trust {{
    ca          = {{"{ca}"}}
}}
"""


class World:
    """A configuration that is right, with its files, to be spoiled by a case."""

    def __init__(self, directory, template=GATEWAY):
        self.dir = directory
        self.corp = Corp(directory / "pki", GATEWAY_NAME)
        self.certificate, self.key = self.issue()
        self.file = directory / "hq.conf"
        self.text = template.format(dir=directory, user=DAEMON_USER, ca=self.corp.ca,
                                    certificate=self.certificate, key=self.key)

    def issue(self, authority=None, name="gateway"):
        """A certificate of the gateway that no warning is due for."""
        leaf = (authority or self.corp.root).issue(GATEWAY_NAME, usages=(SERVER_AUTH,),
                                                   dns=[GATEWAY_NAME], not_after=NOW + 90 * DAY)
        return self.corp.write(name, leaf)

    def replace(self, old, new):
        assert self.text.count(old) == 1, f"{old!r} in {self.text}"
        self.text = self.text.replace(old, new)

    def line(self, fragment):
        """Where it stands; 0 for None, the file as a whole."""
        if fragment is None:
            return 0
        found = [n for n, line in enumerate(self.text.splitlines(), 1) if fragment in line]
        assert len(found) == 1, f"{fragment!r} in lines {found} of\n{self.text}"
        return found[0]

    def write(self):
        self.file.write_text(self.text)
        self.file.chmod(0o600)
        return self

    def run(self, *options, seconds=10):
        """(exit status, standard output, standard error); None for one that did not end."""
        process = subprocess.Popen(
            ["unshare", "--net", TUND, *options, "--config", self.file], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=die_with_parent)
        try:
            out, err = process.communicate(timeout=seconds)
            return process.returncode, out, err
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return None, *process.communicate()

    def processes(self):
        """All that were started with this file."""
        found = []
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = cmdline.read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(self.file) in words:
                found.append(cmdline.parent.name)
        return found

    def assert_nothing_left(self):
        assert not (self.dir / "control.sock").exists()
        wait_until(lambda: not self.processes(), 2, "the end of every process")


@pytest.fixture
def directory():
    """One that those who have given up root can walk through, unlike tmp_path."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def world(directory):
    return World(directory)


def assert_refused(world, *problems):
    """problems: (a part of the line it stands on, a pattern of what is said about it)."""
    world.write()
    code, out, err = world.run("--check")
    assert (code, out) == (1, ""), err
    assert_says(world, err, problems)
    world.assert_nothing_left()
    assert not (world.dir / "state").exists(), "--check made a directory"

    code, out, err = world.run("--foreground")
    assert (code, out) == (1, ""), f"exit {code}\n{err}"
    assert_says(world, err, problems)
    world.assert_nothing_left()


def assert_says(world, err, problems):
    lines = err.splitlines()
    assert len(lines) == len(problems), f"{len(problems)} problems, and this was said:\n{err}"
    for line, (fragment, pattern) in zip(lines, problems):
        place = f"{world.file}:{world.line(fragment)}: "
        assert place in line, f"not {place!r} in:\n{err}"
        assert re.search(pattern, line.split(place, 1)[1]), f"not /{pattern}/ in:\n{err}"


# The control.

@pytest.mark.parametrize("template", [GATEWAY, CLIENT], ids=["gateway", "client"])
def test_a_valid_file_is_silent(directory, template):
    world = World(directory, template)
    assert world.write().run("--check") == (0, "", "")
    world.assert_nothing_left()
    assert not (world.dir / "state").exists()


def test_a_valid_file_starts(world):
    world.write()
    code, _, err = world.run("--foreground", seconds=2)
    assert code is None and "gateway ready" in err, err
    (world.dir / "control.sock").unlink()
    world.assert_nothing_left()


# The text.

OPTIONS = {
    "unknown-option": ('    dpd       = "3s"', '    dpdd      = "3s"', "dpdd", r"dpdd.*\bdpd\b"),
    "option-of-another-section": ("# A gateway.", 'log { dpd = "3s" }', "log {",
                                  r"dpd.*gateway"),
    "unknown-section": ("# A gateway.", 'logs { level = "info" }', "logs", r"logs.*\blog\b"),
    "option-outside-of-a-section": ("# A gateway.", 'dpd = "4s"', '"4s"', r"dpd.*gateway"),
    "written-twice": ('    dpd       = "3s"', '    dpd = "3s"\n    dpd = "4s"', '"4s"',
                      "dpd.*twice"),
    "section-twice": ("# A gateway.", 'log { level = "info" }\nlog { level = "debug" }', "debug",
                      r"log\b"),
    "no-number": ('"3s"\n', '"3s"\n    max-sessions = "many"\n', "many", "max-sessions.*many"),
    "number-too-large": ('"3s"\n', '"3s"\n    max-sessions = 99999999999999999999\n',
                         "max-sessions", "max-sessions.*1000000"),
    "negative-number": ('"3s"\n', '"3s"\n    max-sessions = -1\n', "max-sessions",
                        "max-sessions"),
    "no-duration": ('"3s"', '"3 parsecs"', "parsecs", "dpd.*parsecs"),
    "no-prefix": ('"10.50.0.0/24"', '"10.50.0.0/33"', "/33", "routes.*10.50.0.0/33"),
    "host-bits": ('"10.50.0.0/24"', '"10.50.0.7/24"', "0.7/24", "10.50.0.7/24.*10.50.0.0/24"),
    "no-address": ('"127.0.0.1:4443"', '"127.0.0.256:4443"', ".256", "listen.*127.0.0.256"),
    "no-port": ('"127.0.0.1:4443"', '"127.0.0.1:66000"', "66000", "listen.*66000"),
    "interface-too-long": ('"tund0"', '"tund0123456789ab"', "456789ab", "interface.*15"),
    "interface-with-a-slash": ('"tund0"', '"tund/0"', "tund/0", "interface.*tund/0"),
    "text-for-a-list": ('{"10.50.0.0/24"}', '{"10.50.0.0/24"', "dpd", r"."),
    "list-for-a-text": ('"3s"', '{"3s", "4s"}', "4s", "dpd"),
    "wrong-word": ('"3s"\n', '"3s"\n    duplicate = "perhaps"\n', "perhaps",
                   "perhaps.*replace.*refuse.*allow"),
    "pool-too-small": ('"10.99.0.0/24"', '"10.99.0.0/31"', "/31", "pool.*/31"),
    "pools-overlap": ('"10.99.0.0/24"', '"10.99.0.0/24", "10.99.0.128/25"', "/25",
                      "10.99.0.0/24.*10.99.0.128/25.*overlap"),
    "pool-holds-the-listener": ('"127.0.0.1:4443"', '"10.99.0.7:4443"', "    pool ",
                                "pool.*10.99.0.7"),
    "mtu-below-ipv6": ('"3s"\n', '"3s"\n    mtu = 1000\n', "1000", "mtu.*1280"),
    "exclude-takes-all": ('"3s"\n', '"3s"\n    exclude = {"10.0.0.0/8"}\n', "exclude",
                          "10.0.0.0/8.*10.50.0.0/24"),
    "domains-without-dns": ('"3s"\n', '"3s"\n    domains = {"corp.example"}\n', "domains", "dns"),
    "both-roles": ("# A gateway.", 'client { gateway = {"vpn"} }', "client",
                   "client and gateway.*two files"),
    "option-of-the-other-role": ("trust {", 'trust {\n    peer-name   = "vpn"', "peer-name",
                                 "peer-name.*client"),
    "not-built-yet": ("# A gateway.", 'metrics { listen = "127.0.0.1:9443" }', "metrics",
                      "metrics.listen.*not built"),
    "rule-without-a-protocol": ('"0.0.0.0/0 any"', '"0.0.0.0/0"', "allow", "allow.*0.0.0.0/0"),
    "rule-with-a-port-of-icmp": ('"0.0.0.0/0 any"', '"0.0.0.0/0 icmp/8"', "allow", "icmp/8"),
    "rule-with-ports-backwards": ('"0.0.0.0/0 any"', '"0.0.0.0/0 tcp/80-22"', "allow", "80-22"),
    "match-of-an-unknown-field": ('"o=Corp"', '"organisation=Corp"', "organisation",
                                  "organisation"),
    "match-of-nothing": ('{"o=Corp"}', "{}", "match", "match.*empty"),
    "no-such-user": (f'"{DAEMON_USER}"', '"nobody-of-that-name"', "daemon",
                     "daemon.user.*nobody-of-that-name.*useradd"),
    "the-user-is-root": (f'"{DAEMON_USER}"', '"root"', "daemon", "daemon.user.*root"),
    "no-such-group": ("control {", 'control { admins = "nogroup-of-that-name" ',
                      "control {", "admins.*nogroup-of-that-name"),
    "title-twice": ("trust {", 'access "everyone" { match = {"cn=*"} }\ntrust {', "cn=*",
                    "access.everyone stands twice.*line"),
    "rule-of-an-unknown-protocol": ('"0.0.0.0/0 any"', '"0.0.0.0/0 sctp/80"', "allow",
                                    "sctp.*tcp, udp, icmp, any"),
    "rule-with-host-bits": ('"0.0.0.0/0 any"', '"10.1.2.3/8 any"', "allow",
                            "10.1.2.3/8.*host bits.*10.0.0.0/8 any"),
    "rule-with-a-port-too-high": ('"0.0.0.0/0 any"', '"0.0.0.0/0 tcp/65536"', "allow", "65536"),
    "rule-for-a-name": ('"0.0.0.0/0 any"', '"db.corp.example tcp/5432"', "allow",
                        "db.corp.example.*not an address or prefix"),
    "duration-beyond-64-bits": ('"3s"', '"18446744073709551617s"', "18446744073709551617s",
                                "dpd.*out of range"),
    "duration-that-wraps": ('"3s"', '"213503982334602d"', "213503982334602d", "dpd.*out of range"),
    "negative-duration": ('"3s"', '"-3s"', "-3s", "dpd.*-3s.*not a duration"),
    "duration-without-a-unit": ('"3s"', '"3"', '"3"', "dpd.*s, m, h or d"),
    "environment": ('"tund0"', '"${HOME}"', "HOME", r"\$\{.*environment.*write the value itself"),
    "environment-without-quotes": ('"tund0"', "$HOME", "HOME", r"unexpected \"\$\""),
    "home-directory": ("trust {", "log { }\ntrust {\n    crl = {'~/corp.crl'}", "~/corp.crl",
                       "trust.crl.*~.*whole path"),
    "network-mask": ('"10.50.0.0/24"', '"10.50.0.0/255.255.255.0"', "255.255.255.0", "no prefix"),
    "a-word-of-another-case": ("# A gateway.", "Log { }", "Log", 'unknown section.*"log"'),
    "byte-order-mark": ("# A gateway.", "\ufeff# A gateway.", "# A gateway.", "byte order mark.*without"),
    "missing-pool": ('    pool      = {"10.99.0.0/24", "fd99::/64"}\n', "", "gateway {",
                     "pool.*missing"),
    "missing-ca": ("    ca          =", "    # ca       =", "trust {", "trust.ca.*missing"),
    "missing-key": ("    key         =", "    # key      =", "identity {",
                    "identity.key.*missing"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_is_wrong(world, name):
    old, new, fragment, pattern = OPTIONS[name]
    world.replace(old, new)
    assert_refused(world, (fragment, pattern))


SITE = """\
site "{title}" {{
    match     = {{"dns:{title}.sites.corp.example"}}
    {options}
}}
"""

SITES = {
    "site-that-claims-the-pool": (['networks = {"10.99.0.0/24"}'],
                                  "overlaps gateway.pool 10.99.0.0/24"),
    "site-around-the-pool": (['networks = {"fd00::/8"}'], "overlaps gateway.pool fd99::/64"),
    "sites-that-overlap": (['networks = {"10.20.0.0/16"}', 'networks = {"10.20.7.0/24"}'],
                           r'10.20.7.0/24 overlaps 10.20.0.0/16 of site "a" \(line \d+\)'),
    "site-with-host-bits": (['networks = {"10.20.0.1/16"}'], "host bits set; write .10.20.0.0/16"),
    "site-with-everything": (['networks = {"::/1"}'], "no site's hosts can have"),
    "site-with-multicast": (['networks = {"239.0.0.0/8"}'], "no site's hosts can have"),
    "site-with-the-gateways-address": (['address = {"10.99.0.1"}'], "is the gateway's own"),
    "site-with-the-broadcast-address": (['address = {"10.99.0.255"}'], "is for broadcasts"),
    "sites-with-one-address": (['address = {"10.99.0.9"}'] * 2, 'also that of site "a"'),
    "site-with-two-addresses": (['address = {"10.99.0.9", "10.99.0.8"}'], "second of IPv4"),
    "site-with-an-address-behind-another": (
        ['networks = {"10.20.0.0/16"}', 'address = {"10.20.0.9"}'], 'in the networks of site "a"'),
    "site-with-the-outer-address": (['networks = {"198.51.100.0/24"}'],
                                    "holds the address of gateway.listen"),
}


@pytest.mark.parametrize("name", SITES)
def test_a_site_that_is_wrong(world, name):
    options, pattern = SITES[name]
    world.replace("127.0.0.1:4443", "198.51.100.1:4443")
    for title, option in zip("ab", options):
        world.text += SITE.format(title=title, options=option + (" # this one" * (option is options[-1])))
    if options.count(options[0]) == 2:
        world.text = world.text.replace(" # this one", "", 1)
    assert_refused(world, ("# this one", pattern))


def test_every_problem_is_told_at_once(world):
    world.replace('"3s"', '"soon"')
    world.replace('"10.50.0.0/24"', '"10.50.0.0/40"')
    world.replace("trust {", 'crypto { group = "X25519" }\ntrust {')
    assert_refused(world, ("routes", "/40"), ("soon", "dpd"), ("crypto", "group.*groups"))


def test_a_file_that_is_cut_off_is_refused_wherever_that_is(world):
    whole = world.text
    for end in [*range(0, len(whole) - 2, 7), len(whole) - 2]:
        world.text = whole[:end]
        code, out, err = world.write().run("--check")
        where = f"cut after {whole[max(0, end - 40):end]!r}:\n{err}"
        assert (code, out) == (1, ""), where
        assert 1 <= len(err.splitlines()) <= 4, where
        for line in err.splitlines():
            match = re.match(re.escape(str(world.file)) + r":(\d+): \S", line)
            assert match and int(match.group(1)) <= world.text.count("\n") + 1, where


ENDS = r"the file ends within gateway \(line 2\).*\}.*cut off"


@pytest.mark.parametrize("name, last, fragment, pattern", [
    ("in a section", '    routes    = {"10.50.0.0/24"}', "    routes", ENDS),
    ("in a text", '"tun', '"tun', "text that begins here is not closed.*cut off"),
    ("in a list", '{"10.99.0.0/24", ', "    pool", "pool: the list.*not closed.*cut off"),
    ("after an equals sign", "    pool      =", "    pool", ENDS),
    ("after a name", "    pool", "    pool", ENDS),
    ("in the last section", None, "    ca  ", r"the file ends within trust.*\}.*cut off"),
], ids=lambda value: value.replace(" ", "-") if value and " " in value else "")
def test_a_file_that_is_cut_off_says_where(world, name, last, fragment, pattern):
    end = len(world.text) - 3 if last is None else world.text.index(last) + len(last)
    world.text = world.text[:end]
    assert_refused(world, (fragment, pattern))


def test_the_environment_is_not_read(world):
    """Not even where the text is fine: in single quotes the two characters are themselves."""
    world.replace('"everyone"', "'everyone' # ${HOME}\n")
    world.replace('"10.50.0.0/24"', "'${HOME}'")
    assert_refused(world, ("routes", r'"\$\{HOME\}" is no prefix'))


def test_lines_may_end_as_on_other_systems(world):
    world.write().file.write_bytes(world.text.replace("\n", "\r\n").encode())
    assert world.run("--check") == (0, "", "")
    world.file.write_bytes(world.text.replace("\n", "\r").encode())
    code, _, err = world.run("--check")
    assert code == 1 and re.fullmatch(
        re.escape(f"{world.file}:1: ") + "a carriage return that ends no line.*LF or CRLF\n", err)


WHOLE = {
    "zero-byte": (lambda text: text.replace("tund0", "tu\0nd0").encode(), "4: holds a zero byte"),
    "utf-16": (lambda text: text.encode("utf-16"), "1: holds a zero byte"),
    "ten-megabytes": (lambda text: text.encode() + b"#" * (10 << 20), "0: has .* at most 1048576"),
    "a-megabyte-of-braces": (lambda text: text.encode() + b"{" * (1 << 19), "a section belongs here"),
    "deeply-nested": (lambda text: text.encode() + b"log " + b"{ a " * (1 << 17), "do not nest"),
    "a-megabyte-of-one-word": (lambda text: b"a" * (1 << 20), "1: unknown section"),
    "a-megabyte-of-problems": (lambda text: text.encode() + b"log {\n" + b"abc = 1\n" * 99999,
                               'unknown option "abc"'),
    "a-megabyte-of-blocks": (lambda text: text.encode() + b"".join(
        b'access a%d { match = "cn=*" }\n' % n for n in range(20000)), "more than 1000 access"),
    "a-megabyte-of-entries": (lambda text: text.encode() + b'access b { match = "cn=*" routes = {' +
                              b'"10.0.0.0/8",' * 60000 + b"} }", "more than 4096 entries"),
    "an-endless-comment": (lambda text: text.encode() + b"/* " * (1 << 18), "does not end.*cut off"),
    "an-endless-text": (lambda text: text.encode() + b'log { level = "' + b"a" * (1 << 19),
                        "not closed.*cut off"),
    "include-above": (lambda text: b'include("/etc/passwd")\n' + text.encode(), "1: .*no include"),
    "include-within": (lambda text: text.replace(
        "# A gateway.", 'log { include("/etc/passwd") }').encode(), "1: .*no include"),
    "another-language": (lambda text: b"gateway:\n  pool: [10.99.0.0/24]\n", "1: unknown section"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_no_configuration(world, name):
    """Refused within a moment, in at most a hundred lines, with the first that tells."""
    make, pattern = WHOLE[name]
    world.file.write_bytes(make(world.text))
    world.file.chmod(0o600)
    code, out, err = world.run("--check", seconds=5)
    assert (code, out) == (1, ""), err[-2000:]
    lines = err.splitlines()
    assert 1 <= len(lines) <= 100 and err.isascii() and "root:" not in err
    assert all(re.match(re.escape(str(world.file)) + r":\d+: \S", line) for line in lines)
    assert re.search(re.escape(f"{world.file}:") + r"(\d+: )?.*" + pattern.split(": ")[-1], err)
    assert re.match(re.escape(f"{world.file}:") + pattern.split(": ")[0] if ": " in pattern else "",
                    lines[0]), lines[0]


@pytest.mark.parametrize("address, pool", [("10.99.0.7/32", "10.99.0.0/24"),
                                           ("fd99::1/128", "fd99::/64")])
def test_a_pool_with_an_address_of_the_host(world, address, pool):
    """Of an interface that is not tund's own; whether it listens there or everywhere."""
    def run(interface, option):
        done = subprocess.run(
            ["unshare", "--net", "sh", "-c", 'ip link add "$0" type veth peer name peer7 && '
             'ip addr add "$1" dev "$0" && shift && exec "$@"', interface, address, TUND, option,
             "--config", world.file], capture_output=True, text=True, timeout=10)
        return done.returncode, done.stderr

    world.replace('"127.0.0.1:4443"', '"0.0.0.0:4443", "[::]:4443"')
    world.write()
    for option in ("--check", "--foreground"):
        code, err = run("eth7", option)
        assert (code, err.count("\n")) == (1, 1), err
        assert f"{world.file}:{world.line('    pool')}: gateway.pool: {pool} holds " \
            f"{address.split('/')[0]}, this host's own address on eth7" in err, err
    assert run("tund0", "--check") == (0, "")


def test_an_empty_file(world):
    world.text = ""
    assert_refused(world, (None, "neither gateway.*nor client"))


def test_a_file_that_is_not_there(world):
    for option in ("--check", "--foreground"):
        code, out, err = world.run(option)
        assert (code, out) == (1, "")
        assert re.fullmatch(re.escape(f"{world.file}:0: ") + ".*No such file.*\n", err), err


def test_a_file_that_others_may_write(world):
    world.write().file.chmod(0o666)
    code, _, err = world.run("--check")
    assert code == 1 and len(err.splitlines()) == 1, err
    assert re.search("chmod", err), err


def test_binary_garbage(world):
    world.file.write_bytes(bytes(range(1, 256)) * 40)
    world.file.chmod(0o600)
    code, out, err = world.run("--check")
    assert (code, out) == (1, "") and err.count("\n") >= 1
    assert all(line.startswith(f"{world.file}:") for line in err.splitlines()), err
    assert err.isascii(), "bytes of the file went to the terminal"


# Keys and certificates.

def corrupt(data):
    """PEM with a few characters in its middle that do not belong there."""
    middle = len(data) // 2
    return data[:middle] + b"!!!!" + data[middle + 4:]


def halved(path):
    path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2])


def test_a_key_of_another_certificate(world):
    _, other = world.corp.device("other")
    world.replace(str(world.key), str(other))
    assert_refused(world, (str(other), "identity.key.*does not belong to the certificate"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read(world, mode):
    world.key.chmod(mode)
    assert_refused(world, (str(world.key), f"identity.key.*{mode:04o}.*chmod 600"))


def test_a_key_of_another_user(world):
    os.chown(world.key, 65534, 0)
    assert_refused(world, (str(world.key), "identity.key.*uid 65534.*chown root"))


KEYS = {
    "empty": (lambda path: path.write_bytes(b""), "private key"),
    "cut-off": (halved, "private key"),
    "certificate": (lambda path: path.write_bytes(
        path.with_suffix(".crt").read_bytes()), "private key"),
    "missing": (lambda path: path.unlink(), "No such file"),
    "directory": (lambda path: (path.unlink(), path.mkdir(0o700)), "regular file"),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_file_without_a_key(world, name):
    spoil, pattern = KEYS[name]
    spoil(world.key)
    assert_refused(world, (str(world.key), "identity.key: .*" + pattern))


def test_a_key_that_is_no_file_for_an_eternity(world):
    """A FIFO would hang whoever opens it."""
    world.key.unlink()
    os.mkfifo(world.key, 0o600)
    assert_refused(world, (str(world.key), "identity.key: .*regular file"))


CERTIFICATES = {
    "empty": (lambda path: path.write_bytes(b""), "no certificate"),
    "cut-off": (halved, "cut off"),
    "not-pem": (lambda path: path.write_bytes(os.urandom(900)), "no certificate"),
    "key": (lambda path: path.write_bytes(path.with_suffix(".key").read_bytes()),
            "no certificate"),
    "damaged": (lambda path: path.write_bytes(corrupt(path.read_bytes())), "no certificate"),
    "missing": (lambda path: path.unlink(), "No such file"),
    "directory": (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    "writable-by-others": (lambda path: path.chmod(0o666), "0666.*chmod"),
    "of-another-user": (lambda path: os.chown(path, 65534, 0), "uid 65534.*chown root"),
    "too-large": (lambda path: os.truncate(path, 3 << 20), "limit"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_file_without_a_certificate(world, name):
    spoil, pattern = CERTIFICATES[name]
    spoil(world.certificate)
    assert_refused(world, (str(world.certificate), "identity.certificate: .*" + pattern))


def test_a_chain_that_is_cut_off(world):
    certificate, _ = world.issue(Authority("Issuing", parent=world.corp.root))
    certificate.write_bytes(certificate.read_bytes()[:-100])
    assert_refused(world, (str(certificate), "behind the leaf.*cut off"))


def test_a_certificate_with_its_chain(world):
    world.issue(Authority("Issuing", parent=world.corp.root))
    assert world.write().run("--check") == (0, "", "")


def test_the_chain_before_the_leaf(world):
    issuing = Authority("Issuing", parent=world.corp.root)
    leaf = issuing.issue(GATEWAY_NAME)
    world.corp.write("gateway", leaf)
    world.certificate.write_bytes(issuing.pem() + leaf.pem())
    assert_refused(world, (str(world.key), "does not belong.*leaf"))


# Authorities and lists.

AUTHORITIES = {
    "empty": (lambda world, path: path.write_bytes(b""), "empty"),
    "cut-off": (lambda world, path: halved(path), "cut off"),
    "not-pem": (lambda world, path: path.write_bytes(os.urandom(300).replace(b"0", b"1")),
                "no certificate|not a whole certificate"),
    "damaged": (lambda world, path: path.write_bytes(corrupt(path.read_bytes())),
                "damaged"),
    "list": (lambda world, path: path.write_bytes(world.corp.root.crl()), "trust.crl"),
    "key": (lambda world, path: path.write_bytes(world.key.read_bytes()), "PRIVATE KEY"),
    "leaf": (lambda world, path: path.write_bytes(world.corp.gateway.pem()),
             "not.*(authority|CA)|CA"),
    "second-cut-off": (lambda world, path: path.write_bytes(
        world.corp.root.pem() + Authority("Second").pem()[:200]), "block 2 is cut off"),
    "intermediate-alone": (lambda world, path: path.write_bytes(
        Authority("Issuing", parent=world.corp.root).pem()), "self-signed"),
    "missing": (lambda world, path: path.unlink(), "No such file"),
    "writable-by-others": (lambda world, path: path.chmod(0o666), "0666.*chmod"),
}


@pytest.mark.parametrize("name", AUTHORITIES)
def test_an_authority_file_without_an_authority(world, name):
    spoil, pattern = AUTHORITIES[name]
    spoil(world, world.corp.ca)
    assert_refused(world, (str(world.corp.ca), rf"{re.escape(str(world.corp.ca))}: .*({pattern})"))


def test_an_empty_directory_of_authorities(world):
    world.corp.ca.unlink()
    world.corp.ca.mkdir()
    assert_refused(world, (str(world.corp.ca), "trust.ca.*no self-signed authority"))


def test_a_directory_of_authorities(world):
    directory = world.dir / "authorities"
    directory.mkdir()
    (directory / "root.crt").write_bytes(world.corp.root.pem())
    (directory / "other.crt").write_bytes(Authority("Other Root").pem())
    world.replace(str(world.corp.ca), str(directory))
    assert world.write().run("--check") == (0, "", "")

    bad = directory / "bad.crt"
    bad.write_bytes(b"no certificate\n")
    assert_refused(world, (str(directory), re.escape(str(bad))))


LISTS = {
    "empty": (lambda world, path: path.write_bytes(b""), "empty"),
    "cut-off": (lambda world, path: halved(path), "cut off"),
    "not-pem": (lambda world, path: path.write_bytes(b"serial 17\n"), "no revocation list"),
    "certificate": (lambda world, path: path.write_bytes(world.corp.root.pem()), "trust.ca"),
    "missing": (lambda world, path: path.unlink(), "No such file"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_file_without_a_list(world, name):
    spoil, pattern = LISTS[name]
    path = world.corp.write_crl()
    world.replace("trust {", f'trust {{\n    crl         = {{"{path}"}}')
    assert world.write().run("--check") == (0, "", "")
    spoil(world, path)
    assert_refused(world, (str(path), rf"{re.escape(str(path))}: .*({pattern})"))


# In place.

def in_place(world):
    for path in (world.certificate, world.key, world.corp.ca):
        world.replace(str(path), path.read_text())
    return world


def test_everything_in_one_file(world):
    assert in_place(world).write().run("--check") == (0, "", "")


def test_a_key_in_place_and_a_file_that_others_may_read(world):
    in_place(world).write().file.chmod(0o644)
    for option in ("--check", "--foreground"):
        code, out, err = world.run(option)
        assert (code, out, len(err.splitlines())) == (1, "", 1), err
        assert re.match(re.escape(f"{world.file}:0: ") + ".*private key.*chmod", err), err


def test_a_key_in_place_that_does_not_fit(world):
    _, other = world.corp.device("other")
    world.replace(str(world.key), other.read_text())
    assert_refused(world, ("    key  ", "does not belong to the certificate"))


def test_a_key_in_place_that_is_cut_off(world):
    world.replace(str(world.key), "\n".join(world.key.read_text().splitlines()[:-1]))
    assert_refused(world, ("    key  ", "END|cut off"))


def test_a_certificate_in_the_place_of_the_key(world):
    world.replace(str(world.key), world.certificate.read_text())
    assert_refused(world, ("    key  ", "identity.key.*no private key"))


def test_a_key_in_the_place_of_the_certificate(world):
    world.replace(str(world.certificate), world.key.read_text())
    code, out, err = world.write().run("--check")
    assert (code, out) == (1, "")
    assert all(line.startswith(f"{world.file}:") for line in err.splitlines()), err
    secret = world.key.read_text().splitlines()[1]
    assert secret not in err, "the key was printed"


def test_a_warning_does_not_fail_the_check(world):
    """The list of somebody unknown: said, and no reason not to start."""
    other = Authority("Other Root")
    path = world.dir / "other.crl"
    path.write_bytes(other.crl())
    world.replace("trust {", f'trust {{\n    crl         = {{"{path}"}}')
    code, out, err = world.write().run("--check")
    assert (code, out, len(err.splitlines())) == (0, "", 1), err
    assert err.startswith(f"{world.file}:{world.line('crl  ')}: warning: "), err
