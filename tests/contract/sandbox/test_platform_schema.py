"""fal's platform API as fal describes it: every operation of its OpenAPI document, called by schemathesis."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from callsheet.sandbox.config import SandboxConfig
from tests.contract.sandbox.conftest import client_of

DOCUMENT = json.loads(Path(__file__).with_name("fal_platform_openapi.json").read_text())
# The text of this operation says that a key is optional; its `security` asks for one.
DOCUMENT["paths"]["/models"]["get"]["security"] = [{"apiKey": []}, {}]
EXAMPLES = int(os.environ.get("CALLSHEET_TEST_EXAMPLES", "6"))
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[httpx.Client]:
    """A sandbox with a finished request, for the operations to show."""
    for client in client_of(SandboxConfig(speed=5000)):
        client.post(
            "/fal.run/bytedance/seedance-2.0/mini/text-to-video", json={"prompt": "a", "duration": "4"}
        )
        yield client


OPERATIONS = [each.ok() for each in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]


def test_the_document_has_all_operations() -> None:
    """There are twelve operations in fal's document."""
    methods = ("get", "put", "post", "delete")
    assert sum(method in methods for path in DOCUMENT["paths"].values() for method in path) == 12


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.label)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_each_operation_is_as_described(operation: Any, mode: GenerationMode, sandbox: httpx.Client) -> None:
    """Status, type and body fit fal's schemas, wrong input is refused, keys are asked for."""

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(
            base_url=f"{sandbox.base_url}".rstrip("/") + "/v1",
            headers={"Authorization": sandbox.headers["Authorization"]},
            checks=CHECKS,
        )

    try:
        check()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing can be wrong with a call that has no parameters"
