"""The encoder of sherpa-onnx as our `encoder`: batch first, its states as inputs and outputs, any number of windows.

sherpa-onnx runs the graph once a window, and has no window for the first chunk and up to three for the last one. A
request here is one chunk, so the graph becomes the body of a `Loop` over the windows of the request, none included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from scripts.export.zipformer.files import Encoder, State

_INT64 = TensorProto.INT64


def streaming_encoder(encoder: Encoder) -> ModelProto:
    """Return FEATURES, FEATURES_LENGTH, states -> ENCODED, ENCODED_LENGTH, next states; docs/architecture.md has them.

    FEATURES is [B, n_mels, T] with T = window + k * chunk frames, or 0 for no window; a row with FEATURES_LENGTH 0
    yields ENCODED_LENGTH 0. A state is [B, ...]: the graph's own, its batch axis moved to the front.
    """
    return _Wrapper(encoder, keep_states=True).model()


def utterance_encoder(encoder: Encoder) -> ModelProto:
    """Return FEATURES, FEATURES_LENGTH -> ENCODED, ENCODED_LENGTH: the same steps from zero states."""
    return _Wrapper(encoder, keep_states=False).model()


@dataclass
class _Wrapper:
    """Builds the graph around one encoder."""

    encoder: Encoder
    keep_states: bool

    def model(self) -> ModelProto:
        """Return the checked model."""
        encoder, batch = self.encoder, self.encoder.batch or "B"
        inputs = [
            _tensor("FEATURES", TensorProto.FLOAT, [batch, encoder.n_mels, "T"]),
            _tensor("FEATURES_LENGTH", _INT64, [batch, 1]),
        ]
        outputs = [
            _tensor("ENCODED", TensorProto.FLOAT, [batch, "T_encoded", encoder.encoder_dim]),
            _tensor("ENCODED_LENGTH", _INT64, [batch, 1]),
        ]
        if self.keep_states:
            inputs += [_tensor(state.name, state.dtype, [batch, *state.dims]) for state in encoder.states]
            outputs += [_tensor(f"{state.name}_next", state.dtype, [batch, *state.dims]) for state in encoder.states]
        nodes = [*self._before(), self._loop(), *self._after()]
        graph = helper.make_graph(nodes, "zipformer", inputs, outputs, initializer=self._constants())
        model = helper.make_model(
            graph, opset_imports=encoder.model.opset_import, ir_version=encoder.model.ir_version, producer_name=""
        )
        onnx.checker.check_model(model)
        return model

    def _constants(self) -> list[TensorProto]:
        encoder = self.encoder
        values: dict[str, object] = {
            "w_true": np.array(True),
            "w_chunk": np.array([encoder.chunk_frames]),
            "w_window": np.array([encoder.window_frames]),
            "w_overlap": np.array([encoder.window_frames - encoder.chunk_frames]),
            "w_out": np.array([encoder.encoder_frames]),
            "w_dim": np.array([encoder.encoder_dim]),
            "w_zero": np.array([0]),
            "w_one": np.array([1]),
            "w_two": np.array([2]),
            "w_scalar": np.zeros(0, np.int64),
        }
        for index, state in enumerate(encoder.states):
            values[f"w_dims_{index}"] = np.array(state.dims, np.int64)
        return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]

    def _before(self) -> list[NodeProto]:
        """Frames first; how many windows there are; the states as the original graph takes them."""
        nodes = [
            helper.make_node("Transpose", ["FEATURES"], ["w_frames"], perm=[0, 2, 1]),
            helper.make_node("Shape", ["FEATURES"], ["w_shape"]),
            helper.make_node("Gather", ["w_shape", "w_zero"], ["w_batch"]),
            helper.make_node("Gather", ["w_shape", "w_two"], ["w_count"]),
            helper.make_node("Sub", ["w_count", "w_overlap"], ["w_new"]),
            # Whole-number division truncates towards 0, so no frames are no windows.
            helper.make_node("Div", ["w_new", "w_chunk"], ["w_windows"]),
            helper.make_node("Reshape", ["w_windows", "w_scalar"], ["w_trips"]),
        ]
        for index, state in enumerate(self.encoder.states):
            source = state.name
            if not self.keep_states:
                source = f"w_zeros_{index}"
                zero = helper.make_tensor("zero", state.dtype, [1], [0])
                nodes += [
                    helper.make_node("Concat", ["w_batch", f"w_dims_{index}"], [f"w_size_{index}"], axis=0),
                    helper.make_node("ConstantOfShape", [f"w_size_{index}"], [source], value=zero),
                ]
            nodes.append(_to_original(state, source, f"w_state_{index}"))
        return nodes

    def _loop(self) -> NodeProto:
        states = range(len(self.encoder.states))
        return helper.make_node(
            "Loop",
            ["w_trips", "w_true", *(f"w_state_{index}" for index in states)],
            [*(f"w_state_{index}_last" for index in states), "w_encoded"],
            body=self._body(),
        )

    def _body(self) -> onnx.GraphProto:
        """Return the original graph behind a cut of its window out of all frames."""
        original = self.encoder.model.graph
        feature, *_ = original.input
        encoded, *_ = original.output
        of = {value.name: value for value in [*original.input, *original.output]}
        states = self.encoder.states
        cut = [
            helper.make_node("Reshape", ["w_trip", "w_one"], ["w_index"]),
            helper.make_node("Mul", ["w_index", "w_chunk"], ["w_start"]),
            helper.make_node("Add", ["w_start", "w_window"], ["w_end"]),
            helper.make_node("Slice", ["w_frames", "w_start", "w_end", "w_one"], [feature.name]),
            helper.make_node("Identity", ["w_go"], ["w_go_on"]),
        ]
        return helper.make_graph(
            [*cut, *original.node],
            "window",
            [_tensor("w_trip", _INT64, []), _tensor("w_go", TensorProto.BOOL, []), *(of[s.input_name] for s in states)],
            [_tensor("w_go_on", TensorProto.BOOL, []), *(of[s.output_name] for s in states), encoded],
            initializer=original.initializer,
        )

    def _after(self) -> list[NodeProto]:
        """Windows side by side in time; the states batch first; lengths."""
        nodes = [
            helper.make_node("Transpose", ["w_encoded"], ["w_by_row"], perm=[1, 0, 2, 3]),
            helper.make_node("Mul", ["w_windows", "w_out"], ["w_encoder_frames"]),
            helper.make_node("Concat", ["w_batch", "w_encoder_frames", "w_dim"], ["w_encoded_shape"], axis=0),
            # Without windows the size 0 of time means "as it is", which is 0.
            helper.make_node("Reshape", ["w_by_row", "w_encoded_shape"], ["ENCODED"]),
            helper.make_node("Min", ["FEATURES_LENGTH", "w_one"], ["w_valid"]),
            helper.make_node("Mul", ["w_valid", "w_encoder_frames"], ["ENCODED_LENGTH"]),
        ]
        if self.keep_states:
            nodes += [
                _from_original(state, f"w_state_{index}_last", f"{state.name}_next")
                for index, state in enumerate(self.encoder.states)
            ]
        return nodes


def _to_original(state: State, source: str, target: str) -> NodeProto:
    """Move the batch axis from the front to where the original graph has it; a state of one number is [B] there."""
    if state.is_number:
        return helper.make_node("Squeeze", [source, "w_one"], [target])
    axes = list(range(1, len(state.dims) + 1))
    axes.insert(state.batch_axis, 0)
    return helper.make_node("Transpose", [source], [target], perm=axes)


def _from_original(state: State, source: str, target: str) -> NodeProto:
    if state.is_number:
        return helper.make_node("Unsqueeze", [source, "w_one"], [target])
    axes = list(range(len(state.dims) + 1))
    axes.remove(state.batch_axis)
    return helper.make_node("Transpose", [source], [target], perm=[state.batch_axis, *axes])


def _tensor(name: str, dtype: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)
