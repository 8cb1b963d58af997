"""Spans for OpenTelemetry: what a job's spans are called, and that they arrive at a collector."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.engine.spans import spans_of
from callsheet.ledger import queries


@pytest.mark.anyio
async def test_a_job_has_a_span_and_in_it_submit_render_and_download(house):
    """They carry names and ids of the job, and no prompt."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    run_id = house.open_run("a,A boat under a lens")
    async with house.account() as account:
        ctx = replace(house.context(account, run_id), spans=spans_of(provider))
        await run_jobs(ctx, in_order(account.ledger.do(queries.jobs, run_id)))
    spans = {each.name: each for each in kept.get_finished_spans()}
    assert set(spans) == {"job", "submit", "render", "download"}
    for name in ("submit", "render", "download"):
        assert spans[name].parent.span_id == spans["job"].context.span_id
    told = spans["render"].attributes
    assert told["callsheet.request_id"] == house.row(run_id).ticket.request_id
    assert (told["callsheet.run"], told["callsheet.job"], told["callsheet.attempt"]) == (run_id, "a", 1)
    assert spans["submit"].attributes["callsheet.attempt"] == 1
    assert "lens" not in str([each.to_json() for each in spans.values()])


def test_a_span_that_ends_with_an_error_says_its_kind_and_not_its_text():
    """The text may hold a prompt or an address."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with pytest.raises(OSError, match="lens"), spans_of(provider)("download", {}):
        raise OSError("https://media.test/lens.mp4")
    (span,) = kept.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "OSError")
    assert "lens" not in span.to_json()


SEND = """
from callsheet.engine.spans import exported_spans
with exported_spans()("job", {"job": "a"}):
    pass
"""


def test_spans_arrive_at_the_collector():
    """OTEL_EXPORTER_OTLP_ENDPOINT is all that is set; what is left is sent when the process ends."""
    came = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            """Keep what came."""
            came.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
        subprocess.run([sys.executable, "-c", SEND], env=environment, check=True, timeout=60)
    (resource,) = ExportTraceServiceRequest.FromString(came[0]).resource_spans
    assert resource.scope_spans[0].spans[0].name == "job"
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "callsheet"
