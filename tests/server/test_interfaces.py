"""Which of Triton's interfaces the launcher leaves open."""

from __future__ import annotations

from scripts.serving.interfaces import restrictions


def closed(*opened):
    """What each argument closes, by its name; without the secret."""
    return {
        argument.split("=", 1)[0]: argument.split("=", 1)[1].split(":")[0].split(",")
        for argument in restrictions(frozenset(opened))
    }


def test_everything_that_clients_do_not_need_is_closed():
    assert closed() == {
        "--http-restricted-api": ["model-repository", "shared-memory", "trace", "logging", "inference"],
        "--grpc-restricted-protocol": ["shared-memory", "trace", "logging"],
    }


def test_what_is_opened_is_open():
    assert closed("http-inference", "shared-memory", "trace", "logging") == {
        "--http-restricted-api": ["model-repository"]
    }


def test_the_secret_is_new_every_time():
    assert restrictions(frozenset()) != restrictions(frozenset())
