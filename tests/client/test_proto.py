"""clients/proto/triton.proto means on the wire what Triton means."""

from __future__ import annotations

import re

from tritonclient.grpc import model_config_pb2, service_pb2

from tests.conftest import ROOT

PROTO = (ROOT / "clients" / "proto" / "triton.proto").read_text(encoding="utf-8")
FIELD = re.compile(r"^\s*(repeated )?(map<string, \w+>|\w+) (\w+) = (\d+);$")
TYPES = {
    "bool": 8,
    "int64": 3,
    "uint64": 4,
    "double": 1,
    "string": 9,
    "bytes": 12,
}
MESSAGE = 11


def fields_of(text):
    """(message path, field) of the file; of a field its label, type, name and number."""
    path, found = [], []
    for line in text.splitlines():
        if match := re.match(r"\s*(message|oneof|service) (\w+) \{(\})?", line):
            if not match[3]:
                path.append((match[1], match[2]))
        elif match := FIELD.match(line):
            found.append(([name for kind, name in path if kind == "message"], match.groups()))
        elif line.strip() == "}":
            path.pop()
    return found


def descriptor_of(path):
    messages = {**model_config_pb2.DESCRIPTOR.message_types_by_name, **service_pb2.DESCRIPTOR.message_types_by_name}
    descriptor = messages[path[0]]
    for name in path[1:]:
        descriptor = descriptor.nested_types_by_name[name]
    return descriptor


def test_every_field_is_tritons():
    found = fields_of(PROTO)
    assert len(found) > 30
    for path, (repeated, kind, name, number) in found:
        field = descriptor_of(path).fields_by_name[name]
        assert field.number == int(number), (path, name)
        is_map = kind.startswith("map<")
        assert (field.label == field.LABEL_REPEATED) == bool(repeated or is_map), (path, name)
        assert field.type == (MESSAGE if is_map else TYPES.get(kind, MESSAGE)), (path, name)
        if is_map:
            value = field.message_type.fields_by_name["value"]
            assert value.message_type.name == re.search(r", (\w+)>", kind)[1]
        elif field.type == MESSAGE:
            assert field.message_type.name == kind


def test_every_call_is_tritons():
    calls = re.findall(r"rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\)", PROTO)
    assert len(calls) == 4
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert service.full_name == "inference.GRPCInferenceService"
    for name, _, request, _, response in calls:
        method = service.methods_by_name[name]
        assert (method.input_type.name, method.output_type.name) == (request, response)
