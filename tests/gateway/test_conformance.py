"""The gateway does what its OpenAPI document says, for requests that Schemathesis makes up from it.

`make fuzz-gateway` makes up many more than the test session does.
"""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from amira_asr import Settings
from amira_gateway.app import create_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
TOO_SLOW = 504  # Triton on a loaded machine; it is documented, and says nothing about the gateway
NOT_HTTP = "Invalid HTTP request received."  # from uvicorn: it never reached the gateway
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))


DOCUMENT = create_app(Settings()).openapi()
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_requests_made_up_from_the_document(gateway, operation, mode):
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        pytest.skip("nothing of it can be invalid")

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=strategies.booleans())
    def check(case, known):
        if known and "model" in case.path_parameters:
            case.path_parameters["model"] = "default"
        if known and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "default"
        response = case.call(base_url=gateway.url)
        if response.text != NOT_HTTP and response.status_code != TOO_SLOW:
            case.validate_response(response, checks=CHECKS)

    check()


def test_the_document_names_every_route(http):
    document = http.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v2/decode/batch/{model}",
        "/v1/audio/transcriptions",
        "/v1/models",
        "/v1/models/{model}",
        "/health",
        "/health/live",
        "/health/detailed",
        "/metrics",
    }
    batch = document["paths"]["/v2/decode/batch/{model}"]["post"]
    assert "audio/wav" in batch["requestBody"]["content"]
    assert {"400", "401", "404", "413", "422", "429", "503"} <= set(batch["responses"])


def test_the_api_page_needs_nothing_from_elsewhere(http):
    page = http.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
