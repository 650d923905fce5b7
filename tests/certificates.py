"""Certificates for a test server: its own authority, which a client can be told to trust, and one for 127.0.0.1."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Certificates", "write_certificates"]


@dataclass(frozen=True)
class Certificates:
    """PEM files: `authority` is what clients verify with, `server` and `key` are the server's own."""

    authority: Path
    server: Path
    key: Path


def write_certificates(folder: Path) -> Certificates:
    """Make a new authority and a server certificate for 127.0.0.1 and localhost, valid for a day."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _builder("mofa_usage test authority", "mofa_usage test authority", authority_key, authority_key, True)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = _builder("localhost", "mofa_usage test authority", server_key, authority_key, False)
    server = server.add_extension(x509.SubjectAlternativeName(names), critical=False)
    written = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    for path, builder in ((written.authority, authority), (written.server, server)):
        path.write_bytes(builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    written.key.touch(0o600)
    written.key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return written


def _builder(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    is_authority: bool,
) -> x509.CertificateBuilder:
    """What both certificates have; Python 3.13 and newer refuse one without these extensions."""
    now = datetime.now(UTC)
    unused = ("data_encipherment", "key_agreement", "encipher_only", "decipher_only")
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                **dict.fromkeys(unused, False),
            ),
            critical=True,
        )
    )
