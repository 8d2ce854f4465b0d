"""The front end that a model's configuration asks for: which features, and who computes them.

Parameter `execution`: ``cpu`` (NumPy, the default), ``torch:cuda`` (``torch:cuda:1`` and so on take another GPU than
the first), or ``torch:cpu`` to try that one. What is asked for and is not there is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.parameters import ModelConfig
from log_mel.front_end import FrontEnd
from log_mel.kaldi import KaldiFrontEnd
from log_mel.mel import Float32, LogMel
from log_mel.streaming import StreamingLogMel, WindowGeometry
from onnx_sequence.runner import CPU, Execution


def open_streaming(config: ModelConfig, folder: Path, *, kaldi: bool) -> FrontEnd[Any]:
    """Return the front end of streams.

    Raises:
        ValueError: a parameter is out of range, or contradicts another.
        RuntimeError: the GPU, or the package that uses it, is not there.
    """
    execution = _execution(config, kaldi=kaldi)
    if kaldi:
        return KaldiFrontEnd.configured(config)
    mel, geometry = LogMel.configured(config, folder), WindowGeometry.configured(config)
    if execution is None:
        return StreamingLogMel(mel, geometry)
    transform = _on_device(mel, execution)
    from log_mel.torch_streaming import TorchStreamingLogMel  # noqa: PLC0415  torch is there, as `_on_device` has seen

    # One more for the request that asks whether the server is well, which no limit counts.
    front_end = TorchStreamingLogMel(transform, geometry, 1 + config.integer("max_concurrent_streams", 1))
    front_end.warm_up(config.max_batch_size)
    return front_end


def open_utterances(config: ModelConfig, folder: Path, *, kaldi: bool) -> Callable[[Float32], Float32]:
    """Return what computes the features of a whole waveform. Raises as `open_streaming`."""
    execution = _execution(config, kaldi=kaldi)
    if kaldi:
        return KaldiFrontEnd.configured(config).utterance
    mel = LogMel.configured(config, folder)
    return mel.utterance if execution is None else _on_device(mel, execution).utterance


def _execution(config: ModelConfig, *, kaldi: bool) -> Execution | None:
    """Return where torch computes; None for NumPy. Raises ValueError."""
    text = config.optional_text("execution") or CPU
    execution = Execution.parse(text)
    if execution.plain:
        return None
    if execution.engine != "torch":
        raise ValueError(f"features_execution is {text!r}; allowed: cpu, torch:cuda, torch:cuda:1 and so on, torch:cpu")
    if kaldi:
        raise ValueError(f"features_execution is {text!r}; kaldi's features are computed on the processor only: cpu")
    return execution


def _on_device(mel: LogMel, execution: Execution) -> Any:
    # Imported when chosen: torch is no part of a server that runs on a processor.
    try:
        import torch  # noqa: PLC0415

        from log_mel.torch_mel import TorchLogMel  # noqa: PLC0415
        from onnx_sequence.torch_device import find_device  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeError(
            f"features_execution torch:{execution.device} needs a package that is not installed ({error}): "
            "pip install 'amira-asr[torch]'"
        ) from error
    torch.set_num_threads(1)
    return TorchLogMel(mel, find_device(execution))
