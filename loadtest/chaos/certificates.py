"""A certificate for one run, so that a line can have TLS."""

from __future__ import annotations

import ssl
import subprocess
import tempfile
from pathlib import Path


def temporary_tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server on the loopback and of its clients. Needs the `openssl` command."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=loopback"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        client = ssl.create_default_context(cafile=str(certificate))
    return server, client
