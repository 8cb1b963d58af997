"""Spans for OpenTelemetry: a job, and in it submit, render and download. Without an exporter they do nothing.

They are sent where OTEL_EXPORTER_OTLP_ENDPOINT says, by the SDK's own exporter and its own variables. A span
has names and ids, never prompts, keys or addresses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

logger = logging.getLogger(__name__)

Spans = Callable[[str, dict[str, str | int]], AbstractContextManager[object]]
"""Begins a span with a name and attributes; it ends with the context."""


def no_spans(_name: str, _attributes: dict[str, str | int]) -> AbstractContextManager[object]:
    """Begin nothing."""
    return nullcontext()


@cache
def exported_spans() -> Spans:
    """Return what begins spans that are exported, the same for the whole process.

    Uses the provider that the program has set up, or sets up one. Without the SDK nothing is exported, which
    is said once.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415 -- these are an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider as Provider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        logger.warning("no spans are sent: %s is not installed; install callsheet[metrics]", error.name)
        return no_spans
    if not isinstance(trace.get_tracer_provider(), Provider):
        provider = Provider(resource=Resource.create({"service.name": "callsheet"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)  # it sends the rest when the process ends
    return spans_of(trace.get_tracer_provider())


def spans_of(provider: TracerProvider) -> Spans:
    """Return what begins spans of a provider."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 -- of an extra

    tracer = provider.get_tracer("callsheet")

    @contextmanager
    def begin(name: str, attributes: dict[str, str | int]) -> Iterator[None]:
        named = {f"callsheet.{key}": value for key, value in attributes.items()}
        # An error's text may hold a prompt or an address: a span has its kind alone.
        with tracer.start_as_current_span(
            name, attributes=named, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                raise

    return begin
