"""The sound: a soft chord chosen by the prompt, as long as the picture."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 48_000

_CHORDS = ((0, 7, 12, 16, 23), (0, 7, 12, 15, 22), (0, 5, 12, 14, 19), (0, 7, 14, 16, 21))
"""Semitones above the root: major seventh, minor seventh, suspended, added sixth and ninth."""


def chord(prompt: str, samples: int) -> NDArray[np.float32]:
    """Return (2, samples) at 48 kHz, from -0.35 to 0.35, faded in and out."""
    digest = hashlib.sha256(prompt.encode()).digest()
    root_hz = 110.0 * 2 ** (digest[2] % 12 / 12)
    time_s = np.arange(samples, dtype=np.float64) / SAMPLE_RATE_HZ
    sides = np.zeros((2, samples))
    for index, step in enumerate(_CHORDS[digest[3] % len(_CHORDS)]):
        hertz = root_hz * 2 ** (step / 12)
        swell = 0.75 + 0.25 * np.sin(2 * np.pi * (0.11 + 0.03 * index) * time_s + index)
        for side, detune in enumerate((0.9988, 1.0012)):
            sides[side] += swell * np.sin(2 * np.pi * hertz * detune * time_s) / (index + 1.6)
    fade = np.minimum(1.0, np.minimum(time_s / 0.6, (samples / SAMPLE_RATE_HZ - time_s) / 0.9))
    sides *= 0.35 * np.clip(fade, 0.0, 1.0) / max(1e-9, float(np.abs(sides).max(initial=0.0)))
    return sides.astype(np.float32)
