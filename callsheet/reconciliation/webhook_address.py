"""Where fal is asked to report a request: one address of ours for each attempt, signed, and read again.

The last part of the address is `JOB-ATTEMPT-SIGNATURE`. The signature is over the job, the attempt and the
hash of the body that was sent, so an address fits one POST of one ledger. It proves nothing else: what comes
there counts only with fal's own signature (`callsheet.provider.webhooks`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass

from callsheet.errors import UsageError
from callsheet.files import part_file, usable_data_folder
from callsheet.reconciliation.account import is_local
from callsheet.settings import Secret, Settings

SECRET_FILE = "receive.secret"  # noqa: S105 -- a file's name
SECRET_MIN_CHARS = 16

_TOKEN = re.compile(r"([1-9][0-9]{0,17})-([1-9][0-9]{0,8})-([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """The last part of an address, not checked yet: the job's and the attempt's number, and the signature."""

    job_id: int
    attempt: int
    signature: str

    @classmethod
    def read(cls, text: str) -> Token | None:
        """Return what a token says; None for a text that is none."""
        found = _TOKEN.fullmatch(text)
        return found and cls(int(found[1]), int(found[2]), found[3])


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """The address that fal reaches, without a slash at its end, and the secret that signs what follows it."""

    url: str
    secret: Secret

    def of(self, job_id: int, attempt: int, arguments_sha256: str) -> str:
        """Return the address of one attempt."""
        return f"{self.url}/{job_id}-{attempt}-{self._signature(job_id, attempt, arguments_sha256)}"

    def signed(self, token: Token, arguments_sha256: str | None) -> bool:
        """Say whether a token was made with this secret for the attempt that sent this."""
        expected = self._signature(token.job_id, token.attempt, arguments_sha256 or "")
        return hmac.compare_digest(expected, token.signature)

    def _signature(self, job_id: int, attempt: int, arguments_sha256: str) -> str:
        said = f"callsheet webhook {job_id} {attempt} {arguments_sha256}".encode()
        return hmac.new(self.secret.reveal().encode(), said, hashlib.sha256).hexdigest()[:32]


def refuse_private_webhook(settings: Settings) -> None:
    """Raise UsageError for an address that fal does not call: without https://, or on this machine."""
    url = settings.webhook_url
    if not url or is_local(settings.queue_url):
        return
    if not url.startswith("https://") or is_local(url) or "?" in url or "#" in url:
        raise UsageError(
            f"CALLSHEET_WEBHOOK_URL (--public-url) is {url[:80]!r}; fal calls public https:// addresses only "
            "(and no query)"
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
