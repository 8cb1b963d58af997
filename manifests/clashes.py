"""The rules about two rows: takes, ids and file names. Pure: they see keys and names, and no rows.

Rows are numbered from 0 in the order of the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from manifests.names import folded, with_hash


def settled_takes(contents: Sequence[Hashable], takes: Sequence[int]) -> tuple[list[int], dict[int, int]]:
    """Number rows that would buy the very same video: a second one is a purchase of its own, the next take.

    Returns every row's take, and for those that were equal to an earlier row as they were written, that row.
    """
    first_at: dict[tuple[Hashable, int], int] = {}
    last_take: dict[Hashable, int] = {}
    settled, equal_to = [], {}
    for at, (content, written) in enumerate(zip(contents, takes, strict=True)):
        take = written
        if (content, written) in first_at:
            equal_to[at] = first_at[content, written]
            take = last_take[content] + 1
        first_at.setdefault((content, take), at)
        last_take[content] = max(last_take.get(content, 0), take)
        settled.append(take)
    return settled, equal_to


def id_of_take(first_takes_id: str, take: int) -> str:
    """Return the id that is made for a take, from the one that its first take has."""
    return first_takes_id if take == 1 else f"{first_takes_id}-t{take}"


def clashes(names: Iterable[Hashable]) -> dict[int, int]:
    """Return the rows whose name an earlier row has, with the first of those."""
    first_at: dict[Hashable, int] = {}
    return {at: first for at, name in enumerate(names) if (first := first_at.setdefault(name, at)) != at}


def settled_names(
    given: Sequence[str], made: Callable[[int], str], custom_ids: Sequence[str]
) -> tuple[list[str], dict[int, int]]:
    """Keep file names that were given ("" where none was), make the others; no two may be taken for one.

    A made name gives way and gets a hash of the row's id. Returns all names, and the given ones that clash.
    """
    there = [at for at, name in enumerate(given) if name]
    wrong = {there[at]: there[first] for at, first in clashes(folded(given[at]) for at in there).items()}
    taken = {folded(given[at]) for at in there}
    names = []
    for at, name in enumerate(given):
        names.append(name or _made(made(at), custom_ids[at], taken))
    return names, wrong


def _made(name: str, custom_id: str, taken: set[str]) -> str:
    if folded(name) in taken:
        folder, slash, last = name.rpartition("/")
        name = folder + slash + with_hash(last, custom_id)
    taken.add(folded(name))
    return name
