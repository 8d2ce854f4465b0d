"""The device that torch is asked to use, or the reason why it cannot; and how exact it is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from onnx_sequence.runner import Execution


def find_device(execution: Execution) -> torch.device:
    """Return the device, which is then the thread's own. Raises RuntimeError when this torch cannot use it."""
    if execution.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(f"execution torch:cuda: no GPU that this torch ({torch.__version__}) can use")
    if execution.index >= torch.cuda.device_count():
        raise RuntimeError(f"execution torch:cuda:{execution.index}: there are {torch.cuda.device_count()} GPUs")
    device = torch.device("cuda", execution.index)
    torch.cuda.set_device(device)  # streams, graphs and pinned memory ask nobody else
    return device


@contextmanager
def ending_with_the_device(device: torch.device) -> Iterator[None]:
    """End the process when something in here failed and the GPU answers nothing any more.

    After some errors nothing that a process asks of its GPU is done again. A model that lives on answers every request
    with that error; one that is gone is seen by the launcher, which starts the server anew.
    """
    try:
        yield
    except Exception:
        if device.type == "cuda":
            try:
                torch.cuda.synchronize(device)
            except RuntimeError as lost:
                print(f"{device} is lost to this process: {lost}", file=sys.stderr, flush=True)
                os._exit(1)
        raise


@contextmanager
def tf32_products(device: torch.device) -> Iterator[None]:
    """Let products of FP32 matrices be in TF32 on a GPU, as in the engines.

    The setting is the process's: features and search in the same one keep FP32, since they are to be those of the
    processor, label for label.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
