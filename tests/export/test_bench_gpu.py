"""The GPU benchmark on a processor, tiny: its encoder is a streaming encoder, and a run that is cut off goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch lives in the environment of NeMo: make test-nemo")

import torch

from scripts.bench_gpu import TINY, _launcher, cells, run
from scripts.gpu.fastconformer import Layer, SlottedEncoder
from tests.backends.simulated_gpu import DEVICE, simulated_gpu

SIZES = TINY["tiny"]
CPU = torch.device("cpu")


def _encoder() -> SlottedEncoder:
    torch.manual_seed(0)
    return SlottedEncoder(SIZES, slots=5, frames=4).eval()


def test_a_step_yields_the_frames_of_its_chunk() -> None:
    for frames in (1, 2, 4, 7, 14):
        encoder = SlottedEncoder(SIZES, slots=3, frames=frames).eval()
        encoded = encoder(torch.randn(2, encoder.window_frames, SIZES.n_mels), torch.tensor([2, 0]))
        assert encoded.shape == (2, frames, SIZES.model_dim)


def test_streams_do_not_depend_on_their_neighbours_or_their_order() -> None:
    alone, together = _encoder(), _encoder()
    windows = torch.randn(3, 4, alone.window_frames, SIZES.n_mels)  # three steps of four streams
    slots = [torch.tensor(order) for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0])]
    for step, order in zip(windows, slots, strict=True):
        joined = together(step[order], order)
        for row, slot in enumerate(order.tolist()):
            single = alone(step[slot : slot + 1], torch.tensor([slot]))
            torch.testing.assert_close(joined[row : row + 1], single, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.channel, together.channel, atol=1e-5, rtol=1e-4)
    assert not together.channel[4].any()
    assert together.channel[3].any()


def test_caches_change_what_follows() -> None:
    encoder = _encoder()
    window = torch.randn(1, encoder.window_frames, SIZES.n_mels)
    first, second = (encoder(window, torch.tensor([0])) for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-3)


@torch.no_grad()
def test_attention_scores_by_content_and_distance() -> None:
    """Against the sum over every pair of frames: distance d of query and key is row T - 1 - d of the positions."""
    torch.manual_seed(0)
    layer = Layer(SIZES).eval()
    width, frames, size = 9, 4, SIZES.model_dim // SIZES.heads
    seen, position = torch.randn(1, width, SIZES.model_dim), torch.randn(2 * width - 1, SIZES.model_dim)
    query, key, value = layer.query(seen[0, -frames:]), layer.key(seen[0]), layer.value(seen[0])
    heads = []
    for head in range(SIZES.heads):
        part = slice(head * size, (head + 1) * size)
        scores = torch.zeros(frames, width)
        for i in range(frames):
            for j in range(width):
                distance = (width - frames + i) - j
                content = (query + layer.content_bias)[i, part] @ key[j, part]
                scores[i, j] = content + (query + layer.position_bias)[i, part] @ position[width - 1 - distance, part]
        heads.append((scores / size**0.5).softmax(dim=-1) @ value[:, part])
    torch.testing.assert_close(layer._attend(seen, frames, position)[0], layer.out(torch.cat(heads, dim=-1)))


def _fourth_and_fifth_step(*, graph: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    with DEVICE:
        encoder = SlottedEncoder(SIZES, slots=3, frames=4).eval()
        features, slots = torch.randn(2, encoder.window_frames, SIZES.n_mels), torch.tensor([2, 0])
        answered = torch.zeros(2, 4, SIZES.model_dim)
    step = _launcher(lambda: answered.copy_(encoder(features, slots)), DEVICE, graph=graph)
    steps = []
    for _ in range(2 if graph else 5):  # the warm-up is three steps
        step()
        steps.append(answered.cpu())
    return steps[-2:]


def test_a_replay_is_a_step() -> None:
    with simulated_gpu() as gpu:
        eager, replayed = (_fourth_and_fifth_step(graph=graph) for graph in (False, True))
        assert gpu.captured == 1
    torch.testing.assert_close(eager, replayed)
    assert not torch.equal(eager[0], eager[1])


def test_a_run_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    planned = list(cells(TINY, (1,), graphs=False))
    assert run(out, CPU, TINY, (1,), minutes=0) == len(planned)
    assert run(out, CPU, TINY, (1,), minutes=10) == 0
    figures = json.loads(out.read_text())["cells"]
    assert list(figures) == [cell.key for cell in planned]
    for cell in figures.values():
        assert cell["step_ms"] > 0
        assert cell["streams_at_real_time"] == int(cell["batch"] * cell["chunk_frames"] * 80 / cell["step_ms"])
    del figures[planned[3].key]
    out.write_text(json.dumps({"device": "cpu", "cells": figures}))
    assert run(out, CPU, TINY, (1,), minutes=10) == 0
    again = json.loads(out.read_text())["cells"]
    assert again.keys() == {cell.key for cell in planned}
    assert {key: again[key] for key in figures} == figures


def test_figures_of_another_device_are_not_mixed_in(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    out.write_text(json.dumps({"device": "NVIDIA L4", "cells": {}}))
    with pytest.raises(ValueError, match="figures of NVIDIA L4; this is cpu"):
        run(out, CPU, TINY, (1,), minutes=1)
