"""A certificate for servers on loopback."""

from __future__ import annotations

from pathlib import Path


def made_certificate(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate of 127.0.0.1, its key, and the authority that signed it."""
    import trustme

    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return folder / "cert.pem", folder / "key.pem", folder / "authority.pem"
