"""What a person may say about a clip, and what it means for the next purchase. Pure."""

from __future__ import annotations

VERDICTS = ("keep", "retake", "reject")
"""The words of the column `verdict`; an empty cell says nothing so far."""
