"""The device that torch is asked to use, or the reason why it cannot."""

from __future__ import annotations

import torch

from onnx_sequence.runner import Execution


def find_device(execution: Execution) -> torch.device:
    """Return the device. Raises RuntimeError when this torch cannot use it."""
    if execution.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(f"execution torch:cuda: no GPU that this torch ({torch.__version__}) can use")
    if execution.index >= torch.cuda.device_count():
        raise RuntimeError(f"execution torch:cuda:{execution.index}: there are {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", execution.index)
