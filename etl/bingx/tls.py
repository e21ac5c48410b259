"""Whom we believe when a host proves its name: always somebody, and never whom the environment names."""

import ssl
from pathlib import Path

import certifi

from etl.errors import SettingsError


def trust(ca_bundle: Path | None) -> ssl.SSLContext:
    """Certifi's authorities, and those of a file in PEM form beside them; raises SettingsError for a bad file."""
    # Not by ssl.create_default_context, which writes session keys to a file that the environment may name.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    if ca_bundle is not None:
        try:
            context.load_verify_locations(ca_bundle)
        except OSError:
            raise SettingsError(f"ca_bundle: {ca_bundle} cannot be read as certificates in PEM form") from None
    return context
