"""Fingerprints of many jobs: the text that `Job.fingerprint` hashes, written down from columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from manifests.job import canonical_json


class Pieces(NamedTuple):
    """What jobs share of that text: before a last picture, a first one and the prompt, and after."""

    before_end_image: str
    before_image: str
    before_prompt: str
    after_references: str


@dataclass(frozen=True, slots=True)
class Own:
    """What each job has of its own. Pictures are what makes them the ones they are, "" for none."""

    prompts: Sequence[str]
    seeds: Sequence[int]
    takes: Sequence[int]
    images: Sequence[str]
    end_images: Sequence[str]
    references: Sequence[str]


def pieces_of(endpoint_id: str, values: Mapping[str, Any]) -> Pieces:
    """Return the pieces for an endpoint and its options, by the manifest's names; None is left to fal."""
    frames = values["num_frames"]
    before = {
        "aspect_ratio": values["aspect_ratio"],
        "camera_fixed": values["camera_fixed"],
        "duration": None if frames else str(values["duration"]),
        "enable_safety_checker": values["enable_safety_checker"],
    }
    return Pieces(
        f"{{{_members(before)}",
        f",{_members({'endpoint': endpoint_id, 'generate_audio': values['generate_audio']})}",
        f',"num_frames":{frames},"prompt":' if frames else ',"prompt":',
        f",{_members({'resolution': values['resolution']})}",
    )


def fingerprints(pieces: Sequence[Pieces], places: Sequence[int], own: Own) -> Iterator[str]:
    """Yield the fingerprint of every job; `places` says which pieces are its."""
    texts = _with_pictures if any(map(any, (own.images, own.end_images, own.references))) else _plain
    for text in texts(pieces, places, own):
        yield hashlib.sha256(text.encode()).hexdigest()


def _plain(pieces: Sequence[Pieces], places: Sequence[int], own: Own) -> Iterator[str]:
    heads = [f"{each.before_end_image}{each.before_image}{each.before_prompt}" for each in pieces]
    tails = [each.after_references for each in pieces]
    for which, prompt, seed, take in zip(places, own.prompts, own.seeds, own.takes, strict=True):
        seeded = f',"seed":{seed}' if seed >= 0 else ""
        yield f'{heads[which]}{encode_basestring(prompt)}{tails[which]}{seeded},"take":{take}}}'


def _with_pictures(pieces: Sequence[Pieces], places: Sequence[int], own: Own) -> Iterator[str]:
    rows = zip(
        places, own.prompts, own.seeds, own.takes, own.images, own.end_images, own.references, strict=True
    )
    for which, prompt, seed, take, image, end_image, references in rows:
        each = pieces[which]
        last = f',"end_image_url":{encode_basestring(end_image)}' if end_image else ""
        first = f',"image_url":{encode_basestring(image)}' if image else ""
        more = f',"reference_image_urls":{canonical_json(references.split(LINE))}' if references else ""
        seeded = f',"seed":{seed}' if seed >= 0 else ""
        yield (
            f"{each.before_end_image}{last}{each.before_image}{first}{each.before_prompt}"
            f'{encode_basestring(prompt)}{more}{each.after_references}{seeded},"take":{take}}}'
        )


LINE = "\n"
"""What stands between reference pictures; no identity has one."""


def _members(values: Mapping[str, Any]) -> str:
    """Write the members of a JSON object, without the braces, in the form that hashes are taken over."""
    return canonical_json({name: value for name, value in values.items() if value is not None})[1:-1]
