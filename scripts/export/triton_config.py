"""Building blocks of a Triton model configuration, as typed protobuf messages, and their text form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

FP32, INT32, INT64, BOOL, STRING = pb.TYPE_FP32, pb.TYPE_INT32, pb.TYPE_INT64, pb.TYPE_BOOL, pb.TYPE_STRING

_HEADER = "# Made by `python -m scripts.export` from description.json; change scripts/export, not this file.\n"


def render(config: pb.ModelConfig) -> str:
    """Return the text of a config.pbtxt, the same every time."""
    return _HEADER + text_format.MessageToString(config)


def tensor_input(name: str, data_type: int, dims: Iterable[int], *, ragged: bool = False) -> pb.ModelInput:
    """Return an input; `ragged` lets requests of different shape share a call of the backend."""
    return pb.ModelInput(name=name, data_type=data_type, dims=dims, allow_ragged_batch=ragged)


def tensor_output(name: str, data_type: int, dims: Iterable[int]) -> pb.ModelOutput:
    """Return an output; sizes exclude the batch dimension, -1 is any."""
    return pb.ModelOutput(name=name, data_type=data_type, dims=dims)


def zero_state(name: str, data_type: int, dims: tuple[int, ...]) -> pb.ModelSequenceBatching.State:
    """Return a state tensor that goes in as `name`, comes out as `name`_next, and is zero at START."""
    initial = pb.ModelSequenceBatching.InitialState(name=f"{name}_zero", data_type=data_type, dims=dims, zero_data=True)
    return pb.ModelSequenceBatching.State(
        input_name=name, output_name=f"{name}_next", data_type=data_type, dims=dims, initial_state=[initial]
    )


def oldest_sequences(
    *,
    max_candidate_sequences: int,
    max_queue_delay_microseconds: int,
    max_sequence_idle_microseconds: int,
    states: Iterable[pb.ModelSequenceBatching.State] = (),
) -> pb.ModelSequenceBatching:
    """Return sequence batching that joins requests of different sequences.

    There are no control tensors: the exported graph has no inputs for them, which matters where ONNX Runtime or
    TensorRT run it directly, and the backends read flags and correlation ID from the request itself. (With a string
    CORRID control Triton 2.51 fails: "unexpected number of string elements 2 for inference input 'CORRID'".)
    """
    return pb.ModelSequenceBatching(
        oldest=pb.ModelSequenceBatching.StrategyOldest(
            max_candidate_sequences=max_candidate_sequences,
            max_queue_delay_microseconds=max_queue_delay_microseconds,
        ),
        max_sequence_idle_microseconds=max_sequence_idle_microseconds,
        state=states,
    )


def cpu_model(name: str, backend: str, max_batch_size: int) -> pb.ModelConfig:
    """Return a model of one of our backends, with nothing else said: one instance, on the CPU."""
    instance = pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    return pb.ModelConfig(name=name, backend=backend, max_batch_size=max_batch_size, instance_group=[instance])


def add_parameters(config: pb.ModelConfig, values: Mapping[str, str | float]) -> None:
    """Set model parameters; Triton knows only text, and `repr` keeps every digit of a number."""
    for key, value in values.items():
        config.parameters[key].string_value = value if isinstance(value, str) else repr(value)


def ensemble_step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> pb.ModelEnsembling.Step:
    """Return a step; both maps lead from the names of the model to those of the ensemble."""
    return pb.ModelEnsembling.Step(model_name=model, model_version=-1, input_map=inputs, output_map=outputs)
