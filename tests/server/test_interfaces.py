"""Which of Triton's interfaces the launcher leaves open."""

from __future__ import annotations

from amira_asr.settings import INTERFACES
from scripts.serving.interfaces import restrictions

CLOSED = ["model-repository", "statistics", "shared-memory", "trace", "logging"]


def closed(*opened):
    """What each argument closes, by its name; without the secret."""
    return {
        argument.split("=", 1)[0]: argument.split("=", 1)[1].split(":")[0].split(",")
        for argument in restrictions(frozenset(opened), "secret")
    }


def test_everything_that_clients_do_not_need_is_closed():
    assert closed() == {"--http-restricted-api": [*CLOSED, "inference"], "--grpc-restricted-protocol": CLOSED}


def test_what_is_opened_is_open_and_models_are_not():
    assert closed(*INTERFACES) == {
        "--http-restricted-api": ["model-repository"],
        "--grpc-restricted-protocol": ["model-repository"],
    }
