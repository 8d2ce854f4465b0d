"""Every manifest fits its schema, unknown fields refused: Kubernetes' own, and those of custom resources."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml

from scripts import prometheus_rule
from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.manifests import RENDERINGS, render

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="make .venv/deploy")
utils = pytest.importorskip("kubernetes_validate.utils")
OLDEST, NEWEST = "1.30", "1.37"


@pytest.fixture(autouse=True, scope="module")
def _schemas_read_once():
    """The validator would read two megabytes for every manifest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


def unique(custom):
    """Every different manifest of all renderings."""
    found = {}
    for overlay, components in RENDERINGS:
        for manifest in render(overlay, components):
            if ((manifest["apiVersion"], manifest["kind"]) in SCHEMAS) == custom:
                found[json.dumps(manifest, sort_keys=True)] = manifest
    return list(found.values())


def test_kubernetes_own_kinds():
    manifests = unique(custom=False)
    assert {"Deployment", "Service", "NetworkPolicy", "HorizontalPodAutoscaler"} <= {item["kind"] for item in manifests}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_the_oldest_version_takes_pods_and_policies():
    for manifest in render("gpu-tensorrt"):
        kubernetes_validate.validate(manifest, OLDEST, strict=True)


def test_a_misspelt_field_is_found():
    deployment = next(item for item in render("cpu") if item["kind"] == "Deployment")
    broken = json.loads(json.dumps(deployment))
    broken["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessprobe"):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


def test_custom_resources():
    manifests = unique(custom=True)
    assert {(item["apiVersion"], item["kind"]) for item in manifests} == set(SCHEMAS)
    for manifest in manifests:
        jsonschema.validate(manifest, SCHEMAS[manifest["apiVersion"], manifest["kind"]])


def test_alerts_are_those_of_the_observability_stack():
    if not prometheus_rule.RULES.exists():
        pytest.skip("there are no alerts in deploy/observability")
    made = prometheus_rule.prometheus_rule(prometheus_rule.RULES.read_text(encoding="utf-8"))
    assert prometheus_rule.RULE.read_text(encoding="utf-8") == made, "run `make alerts`"


def closed(schema):
    """A CRD's schema that refuses unknown fields, as the API server's strict validation does."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # Patterns are Go's.
    result = {key: closed(value) for key, value in schema.items() if key != "pattern" or isinstance(value, dict)}
    if "properties" in result and not result.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def test_custom_resources_fit_the_operators_definitions():
    folder = os.environ.get("CRDS")
    if folder is None:
        pytest.skip("CRDS=folder with the operators' CustomResourceDefinitions")
    definitions = {}
    for file in Path(folder).rglob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            if document and document.get("kind") == "CustomResourceDefinition":
                for version in document["spec"]["versions"]:
                    group = document["spec"]["group"]
                    schema = version["schema"]["openAPIV3Schema"]
                    definitions[f"{group}/{version['name']}", document["spec"]["names"]["kind"]] = schema
    for manifest in unique(custom=True):
        schema = closed(definitions[manifest["apiVersion"], manifest["kind"]])
        # Kinds of every object, which definitions leave open.
        schema["properties"]["metadata"] = {"type": "object"}
        jsonschema.validate(manifest, schema)
