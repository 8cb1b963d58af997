"""Where fal keeps one accepted request."""

from dataclasses import dataclass

ADDRESSES = ("status_url", "response_url", "cancel_url")
"""What of it fal's reply names by address."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """An accepted request: under which id it runs, and where it is asked about.

    The URLs of a reply are to be checked against the configured hosts before use (`provider.hosts`).
    """

    request_id: str
    endpoint_id: str
    status_url: str
    response_url: str
    cancel_url: str
