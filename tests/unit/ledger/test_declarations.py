"""How each verb is executed is declared on it: what shares a commit, goes first, or needs a claim."""

import importlib
import pkgutil

from callsheet import ledger
from callsheet.ledger.transaction import Access, Verb

VERBS = {
    f"{module.name}.{name}": verb
    for module in pkgutil.iter_modules(ledger.__path__)
    for name, verb in vars(importlib.import_module(f"callsheet.ledger.{module.name}")).items()
    if isinstance(verb, Verb) and verb.__module__ == f"callsheet.ledger.{module.name}"
}


def declared(**wanted: object) -> set[str]:
    """Return the verbs that are declared like this."""
    return {
        name
        for name, verb in VERBS.items()
        if all(getattr(verb.declared, key) == value for key, value in wanted.items())
    }


def test_only_what_a_slot_waits_for_goes_first() -> None:
    """The end of a render frees a slot; the others fill it again."""
    assert declared(urgent=True) == {"admission.admit", "transitions.accept", "transitions.render"}


def test_only_short_verbs_about_one_job_share_a_commit() -> None:
    """A verb in a shared commit is answered with the last of them, so a long one would hold up the others."""
    writes = declared(short=True, access=Access.WRITE) | declared(short=True, access=Access.PURCHASE)
    assert writes == {
        "admission.admit",
        "settlement.refuse",
        "settlement.release",
        "settlement.settle",
        "transitions.accept",
        "transitions.collect",
        "transitions.not_sent",
        "transitions.render",
        "transitions.start",
    }


def test_only_what_fal_said_of_a_request_is_taken_from_whoever_was_taken_over() -> None:
    """It is true whoever owns the run; everything else of a late owner is refused."""
    assert declared(fenced=False) == {"transitions.accept", "recovery.note_orphan"}


def test_what_a_post_follows_is_a_purchase() -> None:
    """It makes sure of the claim and of the ledger's file before it is committed."""
    assert declared(access=Access.PURCHASE) == {"admission.admit", "transitions.send"}
