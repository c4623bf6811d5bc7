"""Keys that are not in files: SoftHSM tokens, and a TPM by swtpm. Each in a directory of its own."""

import os
import pty
import pwd
import re
import shutil
import subprocess
import tty
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from lab import die_with_parent, run
from peers import DAEMON_USER
from pki import write_private

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "471147"
SO_PIN = "08154711"
KEY_TYPES = {"p256": "EC:prime256v1", "p384": "EC:secp384r1", "rsa2048": "rsa:2048",
             "ed25519": "EC:edwards25519"}

POINTS = {
    "p256": lambda at: ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), at),
    "p384": lambda at: ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), at),
    "ed25519": ed25519.Ed25519PublicKey.from_public_bytes,
}


class Elsewhere:
    """In the place of a private key, for who only wants its public half."""

    def __init__(self, public):
        self._public = public

    def public_key(self):
        return self._public


def give(directory, user=DAEMON_USER):
    entry = pwd.getpwnam(user)
    for path in (directory, *Path(directory).rglob("*")):
        os.chown(path, entry.pw_uid, entry.pw_gid)


class SoftHsm:
    """Tokens below one directory that belongs to the daemon's user, with their configuration."""

    def __init__(self, directory, *labels):
        self.dir = Path(directory)
        self.tokens = self.dir / "tokens"
        self.tokens.mkdir(parents=True)
        self.config = self.dir / "softhsm2.conf"
        self.config.write_text(f"directories.tokendir = {self.tokens}\n"
                               "objectstore.backend = file\nlog.level = ERROR\n")
        self.env = {"SOFTHSM2_CONF": str(self.config)}
        for label in labels:
            self._run("softhsm2-util", "--init-token", "--free", "--label", label,
                      "--so-pin", SO_PIN, "--pin", PIN)

    def _run(self, *argv):
        done = run(["env", *(f"{name}={value}" for name, value in self.env.items()), *argv])
        give(self.dir)
        return done.stdout

    def tool(self, *argv, token="hq", pin=PIN):
        login = ("--login", "--pin", pin) if pin else ()
        return self._run("pkcs11-tool", "--module", MODULE, "--token-label", token, *login, *argv)

    def make(self, name="key", number="01", kind="p256", token="hq", extra=()):
        """A key pair on the token, as something that a certificate can be issued for."""
        self.tool("--keypairgen", "--key-type", KEY_TYPES[kind], "--label", name, "--id", number,
                  *extra, token=token)
        if kind in POINTS:
            return Elsewhere(POINTS[kind](self._read_point(number, token)))
        file = self.dir / f"{name}-{number}.der"
        self.tool("--read-object", "--type", "pubkey", "--id", number, "--output-file", file,
                  token=token)
        run(["openssl", "rsa", "-pubin", "-inform", "DER", "-in", file, "-out", f"{file}.pem"])
        return Elsewhere(serialization.load_pem_public_key(Path(f"{file}.pem").read_bytes()))

    def _read_point(self, number, token):
        """pkcs11-tool writes not all of them, but shows them: an octet string in DER."""
        shown = self.tool("--list-objects", "--type", "pubkey", "--id", number, token=token)
        return bytes.fromhex(re.search(r"EC_POINT: +04[0-9a-f]{2}([0-9a-f]+)", shown).group(1))

    def flags(self):
        """What the token says of itself."""
        shown = self._run("pkcs11-tool", "--module", MODULE, "--list-token-slots")
        return next(line for line in shown.splitlines() if "token flags" in line)

    def hide(self):
        """As if it were pulled out."""
        self.tokens.rename(self.dir / "away")
        self.tokens.mkdir()
        give(self.tokens)

    def put_back(self):
        shutil.rmtree(self.tokens)
        (self.dir / "away").rename(self.tokens)

    def pin_file(self, pin=PIN, mode=0o600):
        path = write_private(self.dir.parent / "pin", (pin + "\n").encode())
        path.chmod(mode)
        return path

    def identity(self, uri="pkcs11:token=hq;object=key", pin=PIN):
        """The options of a configuration."""
        return {"key": f"{uri}?module-path={MODULE}", "passphrase_file": self.pin_file(pin),
                "token_directory": self.dir}


class Tpm:
    """A TPM behind a device, as /dev/tpmrm0 is one: a terminal of its own that changes no byte."""

    def __init__(self, directory):
        self.dir = Path(directory)
        self.dir.mkdir()
        tpm, self.device = pty.openpty()
        tty.setraw(self.device)
        tcti = f"device:{os.ttyname(self.device)}"
        self.env = {"TPM2OPENSSL_TCTI": tcti, "TPM2TOOLS_TCTI": tcti}
        with open(self.dir / "swtpm.log", "wb") as log:
            self.process = subprocess.Popen(
                ["swtpm", "chardev", "--tpm2", "--tpmstate", f"dir={self.dir}", "--fd", str(tpm),
                 "--flags", "not-need-init,startup-clear"],
                pass_fds=[tpm], stdout=log, stderr=log, preexec_fn=die_with_parent)
        os.close(tpm)

    def tool(self, *argv):
        return run(["env", *(f"{name}={value}" for name, value in self.env.items()),
                    *map(str, argv)]).stdout

    def make(self, handle="0x81000001", kind="p256", password=None):
        """A persistent key that only signs, as something that a certificate can be issued for."""
        at = self.dir / "key"
        algorithm = {"p256": "ecc256", "rsa2048": "rsa2048"}[kind]
        self.tool("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc256", "-c", f"{at}.primary")
        self.tool("tpm2_create", "-Q", "-C", f"{at}.primary", "-G", algorithm, "-u", f"{at}.pub",
                  "-r", f"{at}.priv", "-a",
                  "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign",
                  *(("-p", password) if password else ()))
        self._flush()
        self.tool("tpm2_load", "-Q", "-C", f"{at}.primary", "-u", f"{at}.pub", "-r", f"{at}.priv",
                  "-c", f"{at}.loaded")
        self.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", f"{at}.loaded", handle)
        self._flush()
        self.tool("tpm2_readpublic", "-Q", "-c", handle, "-f", "pem", "-o", f"{at}.pem")
        self._flush()
        return Elsewhere(serialization.load_pem_public_key(Path(f"{at}.pem").read_bytes()))

    def make_file(self):
        """A key in a file that this TPM alone can use; what a certificate can be issued for."""
        file = self.dir / "key.tss2"
        self.tool("openssl", "genpkey", "-provider", "tpm2", "-provider", "default", "-algorithm",
                  "EC", "-pkeyopt", "group:P-256", "-out", file)
        self._flush()
        public = self.tool("openssl", "pkey", "-provider", "tpm2", "-provider", "default", "-in",
                           file, "-pubout")
        file.chmod(0o600)
        return file, Elsewhere(serialization.load_pem_public_key(public.encode()))

    def _flush(self):
        """Without a resource manager what was loaded stays, in one of three places."""
        for handle in self.tool("tpm2_getcap", "handles-transient").split():
            if handle.startswith("0x"):
                self.tool("tpm2_flushcontext", handle)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        if self.device is not None:
            os.close(self.device)
        self.device = None
