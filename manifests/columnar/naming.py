"""File names of many rows: made where the row brings none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.columnar.arrow import Mask, mask_of, same_text, text_scalar, texts_of
from manifests.columnar.own_cells import is_plain_name
from manifests.columnar.texts import Texts, text_array
from manifests.names import cleaned_name, is_safe, safe_part
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
