"""How a person names what a cap is on: `ledger`, `campaign:spring`, `model:seedance-1.0-pro`."""

from __future__ import annotations

import difflib
import unicodedata
from typing import Final, cast

from callsheet.errors import UsageError
from callsheet.ledger import AccountRef
from callsheet.ledger.scopes import Scope
from pricing.budgets import client_key

KINDS: Final = ("ledger", "campaign", "client", "campaign-client", "model", "run")
LONGEST: Final = 500
FORMS: Final = "ledger, campaign:NAME, client:NAME, campaign-client:CAMPAIGN/CLIENT, model:NAME or run:ID"


def parse_scope(text: str) -> tuple[Scope, str]:
    """Return the scope and the name. Raises UsageError naming the forms that there are."""
    kind, colon, name = text.strip().partition(":")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"no budget is kept for {text[:80]!r}{hint}; there are {FORMS}")
    if (kind == "ledger") == bool(colon) or (kind != "ledger") != bool(name):
        raise UsageError(f"{text[:80]!r} is not one of {FORMS}")
    if len(name) > LONGEST or any(unicodedata.category(letter) == "Cc" for letter in name):
        raise UsageError(
            f"{text[:80]!r} is no name that a budget is kept for: it has line breaks or other control "
            f"characters, or more than {LONGEST} letters"
        )
    return cast("Scope", kind.replace("-", "_")), _key(kind, name)


def _key(kind: str, name: str) -> str:
    """Return the name as the ledger counts it: a client is one client however it is typed."""
    if kind == "client":
        return client_key(name)
    campaign, slash, client = name.rpartition("/")
    return f"{campaign}/{client_key(client)}" if kind == "campaign-client" and slash else name


def scope_text(ref: AccountRef) -> str:
    """Write the scope of an account as `parse_scope` reads it."""
    kind = ref.scope.replace("_", "-")
    return f"{kind}:{ref.key}" if ref.key else kind
