"""Pictures are uploaded once per distinct content."""

from __future__ import annotations

from sqlalchemy import Connection

from callsheet.ledger import schema


def remember(connection: Connection, sha256: str, url: str, at_ms: int) -> None:
    """Write down where a picture was uploaded to, over what was known before."""
    table = schema.upload
    connection.execute(table.delete().where(table.c.sha256 == sha256))
    connection.execute(table.insert(), {"sha256": sha256, "url": url, "uploaded_ms": at_ms})
