"""When Python looks for garbage: not while modules are imported, and not in what they made.

Prefect and pandas are a million objects that stay to the end. Looking through them again and again takes a
fifth of the time of importing them, stops the loop for a moment now and then, and takes half a second when
Python ends.
"""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_SELDOM = (10_000, *_USUAL[1:])


def look_seldom() -> None:
    """Look for garbage only after many new objects: for the time of imports, and of a short command."""
    gc.set_threshold(*_SELDOM)


def look_as_usual() -> None:
    """Look for garbage as often as Python does by itself."""
    gc.set_threshold(*_USUAL)


def keep_for_good() -> None:
    """Never look at what is there by now."""
    gc.freeze()
