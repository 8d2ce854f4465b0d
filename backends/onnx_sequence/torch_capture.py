"""What is launched again and again, as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from onnx_sequence.torch_graph import TorchGraph


def capture(run: Callable[[], None], graph: TorchGraph, memory: Any) -> Callable[[], None]:
    """Return the replay of a function that reads and writes tensors whose addresses stay.

    Args:
        run: the function; called three times.
        graph: what it runs.
        memory: pool that captured functions share (`torch.cuda.graph_pool_handle`): none runs beside another.

    Raises:
        RuntimeError: it brings values from the host in every run.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    uploads = graph.uploads
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured, pool=memory):
        run()
    if graph.uploads != uploads:
        raise RuntimeError("the graph brings values from the host in every run; it cannot be captured")
    replay: Callable[[], None] = captured.replay
    return replay
