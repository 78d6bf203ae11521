"""A certificate of one's own for a server: what `penult tls-init` makes."""

import ipaddress
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from penult.errors import invalid, shown

CERTIFICATE, KEY = "cert.pem", "key.pem"
PRIVATE = 0o600
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


def make_certificate(names: Sequence[str], directory: Path, *, days: int = 365) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key; returns their files, `cert.pem` and `key.pem`.

    Parameters
    ----------
    names : host names or IP addresses by which clients call the server, at least one.
    directory : where the files go; made when missing. The key is readable by its owner alone.
    days : how long the certificate is valid.

    Raises
    ------
    InvalidRequest : a name is none, `days` is not between 1 and 3,650, or a file exists already: it is never replaced.
    FileNotFoundError : the program ``openssl`` is not installed.
    """
    alternatives = ",".join(_alternative(name) for name in names)
    if not names:
        raise invalid("give at least one name by which clients call the server, such as gpu-box")
    if not 1 <= days <= 3650:
        raise invalid(f"days must be from 1 to 3650; got {days}")
    program = shutil.which("openssl")
    if program is None:
        raise FileNotFoundError("openssl makes the certificate and is not installed here; install it (Debian: openssl)")
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / CERTIFICATE, directory / KEY
    for path in (certificate, key):
        if path.exists():
            raise invalid(f"{path} exists and is not replaced; remove it or name another directory")
    with tempfile.TemporaryDirectory(prefix=".tls-", dir=directory) as staging:
        made = (Path(staging) / CERTIFICATE, Path(staging) / KEY)
        command = [program, "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", str(days)]
        command += ["-subj", f"/CN={names[0][:64]}", "-addext", f"subjectAltName={alternatives}"]
        done = subprocess.run(
            [*command, "-keyout", str(made[1]), "-out", str(made[0])], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise invalid(f"openssl made no certificate: {done.stderr.strip()}")
        made[1].chmod(PRIVATE)
        # The key first: a certificate without its key would be of no use.
        os.link(made[1], key)
        os.link(made[0], certificate)
    return certificate, key


def _alternative(name: str) -> str:
    """A name as openssl takes it: "DNS:gpu-box", "IP:10.0.0.5"."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        if len(name) > 253 or not _NAME.fullmatch(name):
            raise invalid(f"a name is a host name or an IP address; got {shown(name)}") from None
        return f"DNS:{name}"
