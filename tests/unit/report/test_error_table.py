"""The one table of failures, against fal's published error types and against our own words."""

from pathlib import Path

import pytest

import callsheet
from callsheet.media.codes import MediaErrorCode
from callsheet.report.error_table import (
    BOUGHT_OFTEN_ENOUGH,
    ERROR_CLASSES,
    advice_text,
    error_class,
    errors_page,
    worth_trying,
)

PUBLISHED = {
    # fal.ai/docs, request errors
    "request_timeout": (504, True),
    "startup_timeout": (504, True),
    "runner_scheduling_failure": (503, True),
    "runner_connection_timeout": (503, True),
    "runner_disconnected": (503, True),
    "runner_connection_refused": (503, True),
    "runner_connection_error": (503, True),
    "runner_incomplete_response": (502, True),
    "runner_server_error": (500, True),
    "client_disconnected": (499, False),
    "client_cancelled": (499, False),
    "bad_request": (400, False),
    "internal_error": (500, True),
    # fal.ai/docs, model errors
    "internal_server_error": (500, True),
    "generation_timeout": (504, True),
    "downstream_service_error": (500, True),
    "downstream_service_unavailable": (500, True),
    "content_policy_violation": (422, False),
    "no_media_generated": (422, False),
    "image_too_small": (422, False),
    "image_too_large": (422, False),
    "image_load_error": (422, False),
    "file_download_error": (422, False),
    "face_detection_error": (422, False),
    "file_too_large": (422, False),
    "greater_than": (422, False),
    "greater_than_equal": (422, False),
    "less_than": (422, False),
    "less_than_equal": (422, False),
    "multiple_of": (422, False),
    "sequence_too_short": (422, False),
    "sequence_too_long": (422, False),
    "one_of": (422, False),
    "feature_not_supported": (422, False),
    "invalid_archive": (422, False),
    "archive_file_count_below_minimum": (422, False),
    "archive_file_count_exceeds_maximum": (422, False),
    "audio_duration_too_long": (422, False),
    "audio_duration_too_short": (422, False),
    "video_duration_too_long": (422, False),
    "video_duration_too_short": (422, False),
    "unsupported_audio_format": (422, False),
    "unsupported_image_format": (422, False),
    "unsupported_video_format": (422, False),
    "missing": (422, False),
    "value_error": (422, False),
    "literal_error": (422, False),
}


@pytest.mark.parametrize(("error_type", "status", "retry"), [(k, *v) for k, v in PUBLISHED.items()])
def test_every_published_error_has_its_class(error_type: str, status: int, retry: bool) -> None:
    """Fal's own word decides whether to try again; 5xx is never charged, a 422 or a 499 may be."""
    found = error_class(error_type, "unknown")
    assert (found.status, found.retry) == (status, retry)
    assert found.charged == ("unknown" if status in {422, 499} else "no")
    assert "fal.ai/docs" in found.source


def test_the_table_has_no_other_words_of_fals() -> None:
    """A word that fal does not publish is not in the table under fal's name."""
    assert {row.error_type for row in ERROR_CLASSES if row.status} == set(PUBLISHED)
    assert len({row.error_type for row in ERROR_CLASSES}) == len(ERROR_CLASSES)


@pytest.mark.parametrize("word", [*map(str, MediaErrorCode), "untrusted_host"])
def test_a_bad_file_is_paid_for_and_not_bought_again_unasked(word: str) -> None:
    """Every fault of a file is in the table: charged, and not worth a second purchase by itself."""
    found = error_class(word, "yes")
    assert (found.retry, found.charged, found.status) == (False, "yes", 0)


@pytest.mark.parametrize(
    ("charged", "retry"), [("no", True), ("unknown", False), ("yes", False), ("", False)]
)
def test_an_unknown_word_is_tried_again_only_where_it_was_free(charged: str, retry: bool) -> None:
    """An unlisted error is retried only if it cost nothing before."""
    assert worth_trying("a_word_of_tomorrow", charged, 0) is retry


def test_purchases_count_and_tries_do_not() -> None:
    """What was bought three times and never came is left alone, whatever the error."""
    assert worth_trying("internal_error", "no", BOUGHT_OFTEN_ENOUGH - 1)
    assert not worth_trying("internal_error", "no", BOUGHT_OFTEN_ENOUGH)
    assert "bought 3 times already" in advice_text("internal_error", "no", 3)


def test_the_advice_says_again_charged_and_whose_rule() -> None:
    """One sentence holds the three answers that a person with a failed row wants."""
    text = advice_text("content_policy_violation", "unknown", 1)
    assert text.startswith("Try again: no (change the prompt")
    assert "May be charged (fal.ai/docs" in text


def test_the_page_is_made_from_the_table() -> None:
    """docs/errors.md is what `python -m callsheet.report.error_table` writes."""
    page = Path(callsheet.__file__).parent.parent / "docs" / "errors.md"
    assert page.read_text("utf-8") == errors_page()
