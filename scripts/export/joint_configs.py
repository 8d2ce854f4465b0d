"""The config.pbtxt of what the decoders call: prediction network and joint, alone and with the greedy search around."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from scripts.export.description import ModelDescription
from scripts.export.serving_options import ServingOptions
from scripts.export.triton_config import FP32, INT32, INT64, add_parameters, cpu_model, tensor_input, tensor_output

# What AMIRA_MAX_SYMBOLS_PER_STEP allows; so long may the search of a frame take.
MOST_SYMBOLS = 100


def decoder_joint(description: ModelDescription, options: ServingOptions, *, longest_run: int) -> pb.ModelConfig:
    """Prediction network and joint; the decoders call it, with all their rows in one request.

    Args:
        description: of the recogniser.
        options: how to serve it.
        longest_run: most encoder frames of one request.
    """
    shape, encoder_dim = description.transducer, description.encoder.encoder_dim
    state = [shape.prediction_layers, shape.prediction_hidden]
    config = cpu_model("decoder_joint", "onnx_sequence", options.joint_max_batch_size)
    # No delay: what could share a batch already does.
    config.dynamic_batching.CopyFrom(pb.ModelDynamicBatching())
    config.input.extend(
        [
            tensor_input("ENCODED", FP32, [-1, encoder_dim]),
            tensor_input("TARGET", INT32, [1]),
            tensor_input("STATE_H", FP32, state),
            tensor_input("STATE_C", FP32, state),
        ]
    )
    config.output.extend(
        [
            tensor_output("LABEL", INT32, [-1]),
            tensor_output("LABEL_LOG_PROB", FP32, [-1]),
            tensor_output("LABEL_CONFIDENCE", FP32, [-1]),
            tensor_output("LOG_PROBS", FP32, [-1, shape.vocabulary_size + 1]),
            tensor_output("STATE_H_NEXT", FP32, state),
            tensor_output("STATE_C_NEXT", FP32, state),
        ]
    )
    if shape.durations:
        config.output.append(tensor_output("DURATION", INT32, [-1]))
    limits = {"max_frames": longest_run, "labels": shape.vocabulary_size + 1}
    add_parameters(config, {**options.onnx_parameters(), **limits})
    return config


def decoder_greedy(joint: pb.ModelConfig) -> pb.ModelConfig:
    """Greedy search over a run of frames around decoder_joint's graph, for streams that ask for nothing else."""
    config = cpu_model("decoder_greedy", "onnx_sequence", joint.max_batch_size)
    config.dynamic_batching.CopyFrom(joint.dynamic_batching)
    encoded, *carried = joint.input
    config.input.append(encoded)
    config.input.extend([tensor_input("ENCODED_LENGTH", INT64, [1]), tensor_input("MAX_SYMBOLS", INT32, [1])])
    config.input.extend(carried)
    config.output.extend(
        [
            tensor_output("LABEL", INT32, [-1]),
            tensor_output("FRAME", INT64, [-1]),
            tensor_output("LABEL_LOG_PROB", FP32, [-1]),
            tensor_output("LABEL_CONFIDENCE", FP32, [-1]),
            *(output for output in joint.output if output.name.startswith("STATE")),
        ]
    )
    for key, value in joint.parameters.items():
        config.parameters[key].CopyFrom(value)
    add_parameters(config, {"min_frames": 1, "max_symbols": MOST_SYMBOLS})
    return config
