"""A certificate authority for one rehearsal: good for this machine only, and thrown away."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.exceptions import MissingDependency

if TYPE_CHECKING:
    from cryptography import x509

_VALID = dt.timedelta(days=30)
_SKEW = dt.timedelta(minutes=5)
_HOST = "localhost"
_ADDRESSES = ("127.0.0.1", "::1")
_NETWORKS = ("127.0.0.0/8", "::1/128")


def make_context(authority: Path) -> ssl.SSLContext:
    """Make what a server on this machine needs for TLS, and write who vouches for it.

    The authority may vouch for this machine alone, and its key is forgotten at once: whoever trusts
    the file trusts one certificate.

    Parameters
    ----------
    authority : Path
        The file to write, in PEM.

    Raises
    ------
    MissingDependency
        Without the library cryptography.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise MissingDependency(
            "a rehearsal makes its certificate with cryptography, which is not installed: "
            "pip install 'hybridmodel[deploy]'"
        ) from error
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    signed_root = _authority(root)
    certificate = _certificate(key.public_key(), root, signed_root)
    pem = serialization.Encoding.PEM
    authority.write_bytes(signed_root.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _loaded(certificate.public_bytes(pem) + private)


def bundle(authority: Path, known: str | None) -> bytes:
    """Return authorities in PEM: those that a program trusts already, and the rehearsal's.

    `known` is the file or folder that the environment names; None is requests' own.
    """
    import requests

    file = Path(known or requests.utils.DEFAULT_CA_BUNDLE_PATH)
    files = sorted(file.iterdir()) if file.is_dir() else [file]
    return b"\n".join(part.read_bytes() for part in (*files, authority) if part.is_file())


def _authority(root: Any) -> x509.Certificate:
    from cryptography import x509

    name = _name("rehearsal of this machine")
    names = [x509.DNSName(_HOST), *(x509.IPAddress(ipaddress.ip_network(n)) for n in _NETWORKS)]
    return (
        _begun(name, name, root.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.NameConstraints(names, None), critical=True)
        .add_extension(_key_id(root), critical=False)
        .sign(root, _sha256())
    )


def _certificate(key: Any, root: Any, authority: x509.Certificate) -> x509.Certificate:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    names = [x509.DNSName(_HOST), *(x509.IPAddress(ipaddress.ip_address(n)) for n in _ADDRESSES)]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_key_id(root))
    return (
        _begun(_name(_HOST), authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer, critical=False)
        .sign(root, _sha256())
    )


def _begun(subject: x509.Name, issuer: x509.Name, key: Any) -> x509.CertificateBuilder:
    from cryptography import x509

    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(key).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _SKEW).not_valid_after(now + _VALID)


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _key_id(key: Any) -> x509.SubjectKeyIdentifier:
    from cryptography import x509

    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _sha256() -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _loaded(chain: bytes) -> ssl.SSLContext:
    """Let OpenSSL read a key, which it does from files only; the file is readable by us alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    descriptor, file = tempfile.mkstemp(prefix="hybridmodel-rehearsal-")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(chain)
        context.load_cert_chain(file)
    finally:
        Path(file).unlink()
    return context
