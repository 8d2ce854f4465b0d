"""Files of a streaming Zipformer transducer in miniature: real names, shapes and metadata, random weights.

The encoder mixes every state into its output, each with a decay of its own, so that a state which is lost, swapped or
given to another row changes the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WINDOW, CHUNK, FRAMES, MELS, DIM = 45, 32, 8, 80, 32
PIECES = ["<blk>", "<sos/eos>", "<unk>", "▁A", "▁THE", "ING", "S", "'", "▁", "B", "▁TO", "E"]
LAYERS = {
    "num_encoder_layers": [1, 2],
    "encoder_dims": [16, 24],
    "cnn_module_kernels": [7, 5],
    "left_context_len": [16, 8],
    "query_head_dims": [4, 8],
    "value_head_dims": [4, 4],
    "num_heads": [2, 2],
}


@dataclass
class Builder:
    """Collects the nodes of a graph."""

    seed: int
    nodes: list = field(default_factory=list)
    constants: list = field(default_factory=list)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)

    def op(self, kind, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def named(self, kind, output, *inputs):
        self.nodes.append(helper.make_node(kind, list(inputs), [output]))

    def constant(self, value):
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape, scale=1.0):
        return self.constant((self.random.standard_normal(shape) * scale).astype(np.float32))

    def save(self, path, inputs, outputs, metadata):
        graph = helper.make_graph(self.nodes, path.stem, inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def state_shapes(batch):
    """Name, data type, shape and batch axis of every state, in the order of icefall's export."""
    shapes = []
    for stack, layers in enumerate(LAYERS["num_encoder_layers"]):
        dim, kernel, left, query, value, heads = (LAYERS[key][stack] for key in list(LAYERS)[1:])
        for _ in range(layers):
            index = len(shapes) // 6
            shapes += [
                (f"cached_key_{index}", [left, batch, query * heads], 1),
                (f"cached_nonlin_attn_{index}", [1, batch, left, 3 * dim // 4], 1),
                (f"cached_val1_{index}", [left, batch, value * heads], 1),
                (f"cached_val2_{index}", [left, batch, value * heads], 1),
                (f"cached_conv1_{index}", [batch, dim, kernel // 2], 0),
                (f"cached_conv2_{index}", [batch, dim, kernel // 2], 0),
            ]
    typed = [(name, TensorProto.FLOAT, shape, axis) for name, shape, axis in shapes]
    embedding = ("embed_states", TensorProto.FLOAT, [batch, 128, 3, 19], 0)
    return [*typed, embedding, ("processed_lens", TensorProto.INT64, [batch], 0)]


def write_encoder(path, *, batch="N", quantised=False, mixes_rows=False, metadata=()):
    """Write an encoder; `batch` is a number or a name."""
    build = Builder(seed=1)
    new = build.op("Slice", "x", build.constant([0]), build.constant([CHUNK]), build.constant([1]))
    rows = build.op("Reshape", new, build.constant([0, FRAMES, CHUNK // FRAMES * MELS]))
    rows = build.op("Sub", rows, build.op("ReduceMean", rows, axes=[2], keepdims=1))
    if mixes_rows:
        rows = build.op("CumSum", rows, build.constant(0))
    weights = (build.random.standard_normal((CHUNK // FRAMES * MELS, DIM)) * 0.05).astype(np.float32)
    if quantised:
        build.nodes.append(helper.make_node("DynamicQuantizeLinear", [rows], ["q", "q_scale", "q_zero"]))
        whole = build.constant(np.round(weights * 400).astype(np.int8))
        product = build.op("MatMulInteger", "q", whole, "q_zero", build.constant(np.int8(0)))
        scale = build.op("Mul", "q_scale", build.constant(np.float32(1 / 400)))
        encoded = build.op("Mul", build.op("Cast", product, to=TensorProto.FLOAT), scale)
    else:
        encoded = build.op("MatMul", rows, build.constant(weights))
    mean = build.op("ReduceMean", encoded, axes=[1, 2], keepdims=0)
    states = state_shapes(batch)
    for number, (name, dtype, shape, axis) in enumerate(states):
        others = [index for index in range(len(shape)) if index != axis]
        if dtype == TensorProto.INT64:
            build.named("Add", f"new_{name}", name, build.constant(CHUNK))
            level = build.op("Mul", build.op("Cast", name, to=TensorProto.FLOAT), build.constant(np.float32(0.003)))
        else:
            decay = build.constant(np.float32(0.3 + 0.6 * number / len(states)))
            spread = build.op(
                "Reshape", mean, build.constant([-1 if index == axis else 1 for index in range(len(shape))])
            )
            build.named("Add", f"new_{name}", build.op("Mul", name, decay), spread)
            level = build.op("ReduceMean", name, axes=others, keepdims=0)
        level = build.op("Unsqueeze", level, build.constant([1, 2]))
        encoded = build.op("Add", encoded, build.op("Mul", level, build.weights(DIM, scale=0.3)))
    build.named("Identity", "encoder_out", encoded)
    build.save(
        path,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, WINDOW, MELS])]
        + [helper.make_tensor_value_info(name, dtype, shape) for name, dtype, shape, _ in states],
        [helper.make_tensor_value_info("encoder_out", TensorProto.FLOAT, [batch, FRAMES, DIM])]
        + [helper.make_tensor_value_info(f"new_{name}", dtype, shape) for name, dtype, shape, _ in states],
        {
            "model_type": "zipformer2",
            "version": "1",
            "model_author": "k2-fsa",
            "T": str(WINDOW),
            "decode_chunk_len": str(CHUNK),
            **{key: ",".join(map(str, values)) for key, values in LAYERS.items()},
            **dict(metadata),
        },
    )


def write_decoder(path, *, context=2):
    """Write a stateless prediction network: an embedding of each label of the context, negative ones being none."""
    build = Builder(seed=2)
    known = build.op("Cast", build.op("GreaterOrEqual", "y", build.constant(0)), to=TensorProto.FLOAT)
    embedded = build.op("Gather", build.weights(len(PIECES), DIM), build.op("Max", "y", build.constant(0)))
    masked = build.op("Mul", embedded, build.op("Unsqueeze", known, build.constant([2])))
    flat = build.op("Reshape", masked, build.constant([0, context * DIM]))
    build.named("MatMul", "decoder_out", flat, build.weights(context * DIM, DIM, scale=0.25))
    build.save(
        path,
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["N", context])],
        [helper.make_tensor_value_info("decoder_out", TensorProto.FLOAT, ["N", DIM])],
        {"context_size": str(context), "vocab_size": str(len(PIECES))},
    )


def write_joiner(path, *, quantised=False):
    """Write a joiner that likes the blank and `<unk>`, neither of which is ever emitted."""
    build = Builder(seed=3)
    both = build.op("Tanh", build.op("Add", "encoder_out", "decoder_out"))
    if quantised:
        build.nodes.append(helper.make_node("DynamicQuantizeLinear", [both], ["q", "q_scale", "q_zero"]))
    bias = np.zeros(len(PIECES), np.float32)
    bias[0], bias[2] = 3.0, 2.0
    build.named(
        "Add", "logit", build.op("MatMul", both, build.weights(DIM, len(PIECES), scale=0.6)), build.constant(bias)
    )
    build.save(
        path,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", DIM]) for name in ("encoder_out", "decoder_out")],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N", len(PIECES)])],
        {"joiner_dim": str(DIM)},
    )


def write_model(folder: Path, **encoder) -> Path:
    """Write all files of a model; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_encoder(folder / "encoder-epoch-1.onnx", **encoder)
    write_decoder(folder / "decoder-epoch-1.onnx")
    write_joiner(folder / "joiner-epoch-1.onnx")
    lines = [f"{piece} {index}" for index, piece in enumerate(PIECES)]
    (folder / "tokens.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
