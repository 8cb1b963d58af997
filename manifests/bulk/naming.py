"""Ids and file names of many rows: made where the row brings none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.bulk.arrow import Mask, mask_of, same_text, text_scalar, texts_of
from manifests.bulk.own_cells import is_plain_name
from manifests.bulk.setups import Setup
from manifests.bulk.texts import Texts, text_array
from manifests.identity import ID_CHARS, cleaned_name
from manifests.job import canonical_json
from manifests.names import is_safe, safe_part
from manifests.template import Template

_PART = "[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_])?"
_CLEAN = rf"^{_PART}(/{_PART})*$"
_DOUBTFUL = r"(?i)(^|/)(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\.[^/]*)?(/|$)|\.mp4/"
_CLEAN_MAX_BYTES = 200


def safe_parts(texts: Any) -> Any:
    """Return `safe_part` of every cell, "" where it is empty."""
    plain = is_plain_name(texts)
    if plain.all():
        return texts
    encoded = texts.dictionary_encode()
    safe = [safe_part(text) if text else "" for text in encoded.dictionary.to_pylist()]
    return texts_of(safe).take(encoded.indices)


def made_names(naming: Template, cells: Mapping[str, Any], custom_ids: Any) -> tuple[Any, Mask]:
    """Fill a template for every row from its stripped cells; the mask says which names are not safe."""
    if naming.parts == ("", "custom_id", ""):
        if is_plain_name(custom_ids).all():
            return custom_ids, np.zeros(len(custom_ids), bool)
        filled = safe_parts(custom_ids)
    else:
        parts: list[Any] = [text_scalar(part) for part in naming.parts]
        parts[1::2] = [safe_parts(cells[name]) for name in naming.parts[1::2]]
        filled = text_array(_joined(parts, len(custom_ids)))
    clean = mask_of(pc.match_substring_regex(filled, _CLEAN))
    clean &= ~mask_of(pc.match_substring_regex(filled, _DOUBTFUL))
    clean &= Texts.of(filled).lengths <= _CLEAN_MAX_BYTES
    unsafe = np.zeros(len(filled), bool)
    if clean.all():
        return filled, unsafe
    names = filled.to_pylist()
    for at in np.flatnonzero(~clean):
        names[at] = cleaned_name(names[at], custom_ids[int(at)].as_py())
        unsafe[at] = not is_safe(names[at])
    return texts_of(names), unsafe


def _joined(parts: list[Any], count: int) -> Any:
    if all(isinstance(part, pa.Scalar) for part in parts):
        return same_text("".join(part.as_py() for part in parts), count).dictionary_decode()
    return pc.binary_join_element_wise(*parts, text_scalar(""))


def made_ids(setup: Setup, prompts: list[str], seeds: list[int]) -> list[str]:
    """Make ids from the content of rows of one setup without pictures, first takes."""
    head, tail = fingerprint_ends(setup)
    seeded = [f',"seed":{seed},"take":1}}' if seed >= 0 else ',"take":1}' for seed in seeds]
    return [
        hashlib.sha256(f"{head}{encode_basestring(prompt)}{tail}{end}".encode()).hexdigest()[:ID_CHARS]
        for prompt, end in zip(prompts, seeded, strict=True)
    ]


def fingerprint_ends(setup: Setup) -> tuple[str, str]:
    """Return what stands before and after the prompt in the text that a job's fingerprint is taken over."""
    assert setup.endpoint is not None
    values = setup.values
    before = {
        "aspect_ratio": values["aspect_ratio"],
        "camera_fixed": values["camera_fixed"],
        "duration": None if values["num_frames"] else str(values["duration"]),
        "enable_safety_checker": values["enable_safety_checker"],
        "endpoint": setup.endpoint.id,
        "generate_audio": values["generate_audio"],
        "num_frames": values["num_frames"],
    }
    known = {name: value for name, value in before.items() if value is not None}
    return f'{canonical_json(known)[:-1]},"prompt":', f',"resolution":"{values["resolution"]}"'
