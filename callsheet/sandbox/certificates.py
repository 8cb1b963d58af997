"""A certificate of the sandbox's own, for this machine's names and fal's; clients are told to trust it."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from callsheet.files import write_atomically
from callsheet.sandbox.config import FAL_NAMES

LIFE = dt.timedelta(days=365)


def own_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """Return certificate and key below `folder`; made anew each time, for `names` beside the usual ones."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certfile, keyfile = folder / "certificate.pem", folder / "private-key.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Callsheet sandbox")])
    now = dt.datetime.now(dt.UTC)
    every = sorted({"localhost", "127.0.0.1", "::1", *FAL_NAMES, *names})
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in every]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(keyfile, pem, mode=0o600)
    write_atomically(certfile, certificate.public_bytes(serialization.Encoding.PEM))
    return certfile, keyfile


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
