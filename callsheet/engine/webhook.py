"""Where this account's runs ask fal to report, and the secret that runs and the receiver share."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from callsheet.errors import UsageError
from callsheet.files import part_file, usable_data_folder
from callsheet.provider.webhook_address import WebhookAddress
from callsheet.reconcile.account import is_local
from callsheet.settings import Secret, Settings

SECRET_FILE = "receive.secret"  # noqa: S105 -- a file's name
SECRET_MIN_CHARS = 16


def refuse_private_webhook(settings: Settings) -> None:
    """Raise UsageError for an address that fal does not call: without https://, or on this machine."""
    url = settings.webhook_url
    if not url or is_local(settings.queue_url):
        return
    if not url.startswith("https://") or is_local(url) or "?" in url or "#" in url:
        raise UsageError(
            f"CALLSHEET_WEBHOOK_URL is {url[:80]!r}; fal calls public https:// addresses only (and no query)"
        )


def webhook_address(settings: Settings) -> WebhookAddress | None:
    """Return what makes addresses for fal, None without CALLSHEET_WEBHOOK_URL. See `shared_secret`."""
    return WebhookAddress(settings.webhook_url, shared_secret(settings)) if settings.webhook_url else None


def shared_secret(settings: Settings) -> Secret:
    """Return CALLSHEET_RECEIVE_SECRET, else the one in the data folder, which is made where there is none.

    Raises UsageError for one that is too short, and where the data folder cannot be used.
    """
    if settings.receive_secret is not None:
        return _long_enough(settings.receive_secret, "CALLSHEET_RECEIVE_SECRET")
    path = usable_data_folder(settings) / SECRET_FILE
    if not path.exists():
        with part_file(path, mode=0o600) as part:
            part.write(secrets.token_hex(32).encode())
            os.fsync(part.descriptor)
            with suppress(FileExistsError):  # another process was quicker: its secret is everybody's
                os.link(part.path, path)
    return _long_enough(Secret(path.read_text("ascii").strip()), str(path))


def _long_enough(secret: Secret, name: str) -> Secret:
    if len(secret.reveal()) < SECRET_MIN_CHARS:
        raise UsageError(f"{name} is shorter than {SECRET_MIN_CHARS} characters")
    return secret
