"""Where fal is asked to report a request: one address of ours for each attempt, signed, and read again.

The last part of the address is `JOB-ATTEMPT-SIGNATURE`. The signature is over the job, the attempt and the
hash of the body that was sent, so an address fits one POST of one ledger. It proves nothing else: what comes
there counts only with fal's own signature (`callsheet.provider.webhooks`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from callsheet.settings import Secret

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
