"""How long a campaign takes."""

from __future__ import annotations

import pytest

from pricing.render_times import campaign_s, in_words, published_render_s


def test_the_published_figure_comes_out() -> None:
    """41 s for 5 s of 1080p, and half of it for half the frames."""
    assert published_render_s(1920 * 1088, 120) == pytest.approx(41)
    assert published_render_s(1920 * 1088, 60) == pytest.approx(20.5)


@pytest.mark.parametrize(
    ("renders", "concurrency", "seconds"),
    [([], 10, 0), ([(100, 41.0)], 10, 410), ([(3, 41.0)], 10, 41), ([(1, 60.0), (10, 6.0)], 10, 60)],
)
def test_many_renders_at_once(renders: list[tuple[int, float]], concurrency: int, seconds: float) -> None:
    """Work divided by places, and never less than the longest render."""
    assert campaign_s(renders, concurrency=concurrency) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5300, "88 min"),
        (5400, "1 h 30 min"),
        (200_000, "2.3 days"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    """Seconds, minutes, hours or days: what a person plans by."""
    assert in_words(seconds) == words
