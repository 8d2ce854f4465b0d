"""The GPU profiles: `configs/<profile>.pbtxt` of the models that have a graph, made of their `config.pbtxt`.

Triton takes these files with `--model-config-name=<profile>`, and `config.pbtxt` for models that have none. Contract
and limits stay those of the CPU profile; what changes is who runs the graph, and where.
"""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2 as pb

# The sections in which a profile may differ from config.pbtxt; `ragged` inputs are the one difference elsewhere.
PROFILE_FIELDS = (
    "backend",
    "platform",
    "default_model_filename",
    "instance_group",
    "model_warmup",
    "optimization",
    "parameters",
)

# Steps that run on a GPU at the same time. encoder_batch takes all of them: its long step would delay every stream.
_STEPS = "gpu_steps"
_STREAMING_STEPS, _BATCH_STEPS = 1, 2


@dataclass(frozen=True)
class GpuProfile:
    """Who runs the graphs.

    Attributes:
        name: of the profile.
        platform: Triton's name of the backend and format.
        filename: of the graph in the version folder.
        kind: where; AUTO is the GPUs where there are any.
        cuda_graphs: replay whole steps, captured at load for batches of 1, 2, 4, … and the profile's optimal shapes.
    """

    name: str
    platform: str
    filename: str
    kind: pb.ModelInstanceGroup.Kind.ValueType
    cuda_graphs: bool


ONNXRUNTIME = GpuProfile("onnxruntime", "onnxruntime_onnx", "model.onnx", pb.ModelInstanceGroup.KIND_AUTO, False)
TENSORRT = GpuProfile("tensorrt", "tensorrt_plan", "model.plan", pb.ModelInstanceGroup.KIND_GPU, True)
PROFILES = (ONNXRUNTIME, TENSORRT)


def gpu_config(base: pb.ModelConfig, profile: GpuProfile, sizes: dict[str, int]) -> pb.ModelConfig:
    """Return a model's configuration in a profile.

    Args:
        base: its config.pbtxt, served by `onnx_sequence`.
        profile: who runs it instead.
        sizes: what every -1 of an input stands for in the warm-up, by name of the input: mel frames, encoder frames.

    Returns:
        the same inputs, outputs, states and limits. A model with states gets no warm-up: Triton's warm-up requests
        carry no sequence, so a backend that hands it the next state fails and the model does not load
        (`TRITONBACKEND_StateNew` in triton-inference-server/core). Capturing the CUDA graphs warms its engine.
    """
    config = pb.ModelConfig()
    config.CopyFrom(base)
    config.ClearField("backend")
    config.ClearField("parameters")
    config.platform = profile.platform
    config.default_model_filename = profile.filename
    for tensor in config.input:
        tensor.allow_ragged_batch = False  # there the shapes in a batch must agree
    streaming = base.name != "encoder_batch"
    group = pb.ModelInstanceGroup(count=1, kind=profile.kind)
    group.rate_limiter.priority = 1 if streaming else 2
    group.rate_limiter.resources.add(name=_STEPS, count=_STREAMING_STEPS if streaming else _BATCH_STEPS)
    del config.instance_group[:]
    config.instance_group.append(group)
    if profile.cuda_graphs and streaming:
        config.optimization.cuda.graphs = True
        for batch_size in batch_sizes(base.max_batch_size):
            config.optimization.cuda.graph_spec.add(batch_size=batch_size)
    if not base.sequence_batching.state:
        config.model_warmup.extend(_warmup(config, size, sizes) for size in sorted({1, base.max_batch_size}))
    return config


def batch_sizes(largest: int) -> list[int]:
    """Return the powers of two up to `largest`, and `largest` itself."""
    return sorted({1 << power for power in range(largest.bit_length())} | {largest})


def _warmup(config: pb.ModelConfig, batch_size: int, sizes: dict[str, int]) -> pb.ModelWarmup:
    """Return a request of zeros; lengths are zero, too, which every graph accepts."""
    warmup = pb.ModelWarmup(name=f"zeros_{batch_size}", batch_size=batch_size)
    for tensor in config.input:
        dims = [sizes[tensor.name] if size < 0 else size for size in tensor.dims]
        warmup.inputs[tensor.name].CopyFrom(pb.ModelWarmup.Input(data_type=tensor.data_type, dims=dims, zero_data=True))
    return warmup
