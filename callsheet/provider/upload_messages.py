"""Uploading a picture, in words: what is sent to fal's storage and what it answers.

Pure. The exchange is that of fal-client 1.0.3, repository `fal_v3`.
"""

from __future__ import annotations

from callsheet.errors import Refused, Unavailable
from callsheet.provider.messages import lifecycle, read_object, said, text_or_none
from callsheet.provider.replies import Reply, fault_of


def upload_headers(content_type: str, file_name: str) -> dict[str, str]:
    """Return the headers of an upload, without the token. Only printable ASCII can stand in a header."""
    return {
        "Content-Type": _header_text(content_type) or "application/octet-stream",
        "X-Fal-File-Name": _header_text(file_name) or "upload",
        "X-Fal-Object-Lifecycle": lifecycle(),
    }


def parse_upload_token(reply: Reply) -> tuple[str, str | None]:
    """Return the Authorization for one upload and the CDN's address as the reply names it, or None.

    Raises Refused for a 4xx that is not about the account and does not pass, else what `read_object` raises.
    """
    _refuse(reply, "the upload token", {400, *range(404, 500)})
    document = read_object(reply, "the upload token")
    kind, token = document.get("token_type"), document.get("token")
    credential = f"{kind} {token}"
    if not isinstance(kind, str) or not isinstance(token, str) or not token or not _is_header(credential):
        raise Unavailable("the upload token's reply holds no usable token")
    return credential, text_or_none(document.get("base_url"))


def parse_upload(reply: Reply) -> str:
    """Return the address of an uploaded file. Raises Refused where the file itself is refused (4xx)."""
    _refuse(reply, "the upload", {400, 402, *range(404, 500)})
    if reply.status_code in {401, 403}:
        # Here it is the short-lived token that is refused, not the account's key.
        raise Unavailable(said("the upload", reply))
    url = read_object(reply, "the upload's answer").get("access_url")
    if not isinstance(url, str) or not url:
        raise Unavailable("the upload's answer names no address")
    return url


def _refuse(reply: Reply, what: str, codes: set[int]) -> None:
    """Raise Refused for these codes, save for those that pass (408, 425, 429)."""
    if reply.status_code in codes - {408, 425, 429}:
        fault = fault_of(reply)
        raise Refused(said(what, reply), error_type=fault.error_type if fault else "")


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text) <= 8192


def _header_text(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "_" for letter in text).strip()[:200]
