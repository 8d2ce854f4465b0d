"""What the bill of materials says beside packages; `make sbom` makes all of it, in a rehearsal of a minute."""

from __future__ import annotations

import hashlib
import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts.image.sbom import base_image, models
from tests.conftest import ROOT


def test_models_have_the_checksums_of_their_files():
    listed = {component["name"]: component for component in models()}
    assert listed["model-repo/encoder/1/model.onnx"]["type"] == "machine-learning-model"
    for name, component in listed.items():
        assert component["hashes"][0]["content"] == hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
    licences = {name: component["licenses"][0]["license"]["id"] for name, component in listed.items()}
    assert {name for name, licence in licences.items() if licence == "MIT"} <= {"model-repo/vad/1/model.onnx"}


@pytest.mark.parametrize(
    ("target", "name", "version"),
    [
        ("gpu", "nvcr.io/nvidia/tritonserver", "24.10-py3"),
        ("cpu", "python", "3.11-slim-bookworm"),
    ],
)
def test_the_base_image_is_named_with_its_version(target, name, version):
    found = base_image(target)
    assert (found["name"], found["version"]) == (name, version)


def test_the_document_is_cyclonedx():
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [base_image("gpu"), *models()],
    }
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
