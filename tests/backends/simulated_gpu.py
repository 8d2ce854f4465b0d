"""A GPU that is none: tensors say that they are on one, and are computed by the processor.

For what would else be tried on a real GPU first. As there, an operator takes tensors of the device alone, a copy to the
host that does not block has arrived when somebody has waited for it, and what a CUDA graph captures may neither read a
value back nor bring one there. A replay repeats the captured operators on the memory that they had, with none of the
Python in between, and what it allocated is gone then: other graphs use the same memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("cuda", 0)
# Torch's own ask for CUDA before they ask what they are given.
_ASKING = {Tensor.copy_: torch.ops.aten.copy_, Tensor.contiguous: torch.ops.aten.contiguous}
_INTO, _READ = torch.ops.aten.copy_.default, torch.ops.aten._local_scalar_dense.default
_COPIES = (torch.ops.aten.copy_, torch.ops.aten._to_copy, torch.ops.aten.to, torch.ops.aten._local_scalar_dense)


@dataclass
class _Operator:
    """One that was captured: what it is, what it reads, what it writes."""

    run: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    results: list[Tensor]
    owns: list[Tensor]


class SimulatedGraph:
    """`torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.operators: list[_Operator] = []

    def replay(self) -> None:
        """Repeat what was captured, and forget what lies in the memory that graphs share."""
        assert self.operators, "nothing was captured"
        for operator in self.operators:
            results = _tensors(operator.run(*operator.arguments, **operator.keywords))
            for kept, made in zip(operator.results, results, strict=True):
                kept.copy_(made)
        self.forget()

    def forget(self) -> None:
        """Spoil what it allocated."""
        for operator in self.operators:
            for result in operator.owns:
                _spoil(result)


@dataclass
class SimulatedGpu:
    """What happens on it.

    Attributes:
        capturing: the graph that is being captured.
        arriving: copies to the host that nobody has waited for.
        captured: how many graphs there are.
        overwritten: what was written while capturing, and what was there before.
    """

    capturing: SimulatedGraph | None = None
    arriving: list[Callable[[], object]] = field(default_factory=list)
    captured: int = 0
    overwritten: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @contextmanager
    def graph(self, graph: SimulatedGraph, pool: object = None) -> Iterator[None]:
        """`torch.cuda.graph`. Capturing computes nothing: what is written meanwhile has its old values afterwards."""
        self.capturing, self.captured = graph, self.captured + 1
        try:
            yield
        finally:
            self.capturing = None
            for written, value in reversed(self.overwritten):
                written.copy_(value)
            self.overwritten.clear()
        graph.forget()

    def synchronize(self) -> None:
        """Wait for all copies."""
        for copy in self.arriving:
            copy()
        self.arriving.clear()

    def run(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run an operator that has a tensor of the device."""
        given = _tensors((arguments, keywords))
        elsewhere = [x for x in given if not isinstance(x, _OnGpu)]
        to_host = function is _READ or any(device.type == "cpu" for device in _devices((arguments, keywords)))
        if elsewhere or to_host:
            assert function.overloadpacket in _COPIES, f"{function} of tensors on the host and on the device"
            assert self.capturing is None, f"{function} between host and device, in what is being captured"
        real_arguments, real_keywords = tree_map_only(_OnGpu, lambda x: x.inside, (arguments, keywords))
        real_arguments, real_keywords = _on_processor((real_arguments, real_keywords))
        if function is _INTO and not isinstance(arguments[0], _OnGpu) and _does_not_block(arguments, keywords):
            value = real_arguments[1].clone()
            self.arriving.append(lambda: arguments[0].copy_(value))
            return arguments[0]
        if self.capturing is not None:
            self.overwritten += [(x, x.clone()) for x in _written(function, real_arguments)]
        made = function(*real_arguments, **real_keywords)
        if to_host:
            return made
        if self.capturing is not None:
            assert torch.Tag.dynamic_output_shape not in function.tags, f"{function}: its shape depends on values"
            self._note(function, real_arguments, real_keywords, _tensors(made))
        known = {id(x.inside): x for x in given if isinstance(x, _OnGpu)} | {id(x): x for x in elsewhere}
        return tree_map_only(Tensor, lambda x: known[id(x)] if id(x) in known else _OnGpu(x), made)

    def _note(self, function: Any, arguments: Any, keywords: Any, results: list[Tensor]) -> None:
        before = {x.untyped_storage().data_ptr() for x in _tensors((arguments, keywords))}
        owns = [x for x in results if x.untyped_storage().data_ptr() not in before]
        assert self.capturing is not None
        self.capturing.operators.append(_Operator(function, arguments, keywords, results, owns))


class _OnGpu(Tensor):
    """A tensor of the device."""

    gpu: SimulatedGpu
    inside: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> _OnGpu:
        made: _OnGpu = torch.Tensor._make_wrapper_subclass(
            cls,
            real.size(),
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=DEVICE,
        )
        made.inside = real
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        with torch.inference_mode(mode=False), torch.no_grad():
            return cls.gpu.run(func, args, kwargs or {})


class _Allocation(TorchFunctionMode):
    """What asks for a tensor on the device, or for memory of the host that it can reach."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = {key: value for key, value in (kwargs or {}).items() if key != "pin_memory"}
        if func is Tensor.__getitem__ and isinstance(args[0], _OnGpu):
            return _indexed(*args)
        if func is Tensor.__setitem__ and isinstance(args[0], _OnGpu):
            return torch.ops.aten.copy_(_indexed(args[0], args[1]), args[2])
        if func in _ASKING and isinstance(args[0], _OnGpu):
            return _ASKING[func](*args, **kwargs)
        is_there = any(isinstance(x, _OnGpu) for x in _tensors((args, kwargs)))
        if DEVICE not in _devices((args, kwargs)) or is_there or func is torch.device:
            return func(*args, **kwargs)
        assert _OnGpu.gpu.capturing is None, f"{func} brings something to the device, in what is being captured"
        args, kwargs = _on_processor((args, kwargs))
        made = func(*args, **kwargs)
        return _OnGpu(made.clone() if any(made is x for x in args) else made)


@contextmanager
def simulated_gpu() -> Iterator[SimulatedGpu]:
    """There is one such GPU, as far as torch says."""
    gpu = SimulatedGpu()
    stream = mock.Mock(synchronize=gpu.synchronize)
    there = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "set_device": lambda device: None,
        "graph_pool_handle": lambda: "pool",
        "Stream": lambda *_: stream,
        "current_stream": lambda *_: stream,
        "stream": lambda _: nullcontext(),
        "CUDAGraph": SimulatedGraph,
        "graph": gpu.graph,
        "synchronize": lambda *_: gpu.synchronize(),
        "empty_cache": lambda: None,
        "get_device_name": lambda *_: "simulated",
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
    }
    _OnGpu.gpu = gpu
    with mock.patch.multiple(torch.cuda, **there), _Allocation():
        yield gpu


def _indexed(x: Tensor, index: Any) -> Tensor:
    """Return x[index] for numbers, slices, None and an ellipsis."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        taken = sum(part is not None for part in parts) - 1
        parts[place : place + 1] = [slice(None)] * (x.dim() - taken)
    axis = 0
    for part in parts:
        if isinstance(part, int):
            x = x.select(axis, part)
            continue
        x = x.unsqueeze(axis) if part is None else torch.ops.aten.slice(x, axis, part.start, part.stop, part.step or 1)
        axis += 1
    return x


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _devices(tree: Any) -> list[torch.device]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.device)]


def _on_processor(tree: Any) -> Any:
    return tree_map_only(torch.device, lambda _: torch.device("cpu"), tree)


def _written(function: Any, arguments: tuple[Any, ...]) -> list[Tensor]:
    """Return the arguments that an operator writes into."""
    named = zip(function._schema.arguments, arguments, strict=False)
    return [x for item, x in named if item.alias_info is not None and item.alias_info.is_write]


def _does_not_block(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    return bool(arguments[2] if len(arguments) > 2 else keywords.get("non_blocking", False))


def _spoil(tensor: Tensor) -> None:
    tensor.fill_(math.nan if tensor.is_floating_point() else tensor.dtype is torch.bool or -(2**30))
