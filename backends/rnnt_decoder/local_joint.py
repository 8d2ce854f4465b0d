"""The `decoder_joint` graph inside the decoder's own process, where it runs on the same processor anyway."""

from __future__ import annotations

import time
from pathlib import Path

from onnx_sequence.session import Array, OnnxSession
from rnnt_decoder.joint import Float32, Int32, JointDistributions, JointOutput, RecordCall

_BEST = ["LABEL", "LABEL_LOG_PROB", "LABEL_CONFIDENCE"]
_STATE = ["STATE_H_NEXT", "STATE_C_NEXT"]


class LocalJoint:
    """A `joint.Joint` that runs the graph itself: no copies to another process, one thread."""

    def __init__(self, graph: Path, record: RecordCall | None = None) -> None:
        """Load `decoder_joint`'s graph.

        Args:
            graph: its ONNX file.
            record: told of the rows of each call, and its seconds.

        Raises:
            FileNotFoundError: there is none.
        """
        if not graph.is_file():
            raise FileNotFoundError(f"decoder_joint's graph {graph} does not exist")
        self._record = record
        self._session = OnnxSession(graph, intra_op_threads=1, allow_spinning=False)
        self._extra = [name for name in self._session.output_names if name == "DURATION"]

    def best(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointOutput:
        """As `joint.Joint.best`. Raises RuntimeError when ONNX Runtime fails."""
        output = self._run(_BEST, encoded, targets, state_h, state_c)
        labels, log_probs, confidences, next_h, next_c = (output[name] for name in [*_BEST, *_STATE])
        return JointOutput(labels, log_probs, confidences, output.get("DURATION"), next_h, next_c)

    def distributions(self, encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32) -> JointDistributions:
        """As `joint.Joint.distributions`. Raises RuntimeError when ONNX Runtime fails."""
        output = self._run(["LOG_PROBS"], encoded, targets, state_h, state_c)
        next_h, next_c = (output[name] for name in _STATE)
        return JointDistributions(output["LOG_PROBS"], output.get("DURATION"), next_h, next_c)

    def _run(
        self, names: list[str], encoded: Float32, targets: Int32, state_h: Float32, state_c: Float32
    ) -> dict[str, Array]:
        inputs: dict[str, Array] = {"ENCODED": encoded, "TARGET": targets, "STATE_H": state_h, "STATE_C": state_c}
        began = time.perf_counter()
        try:
            return self._session.run(inputs, [*names, *_STATE, *self._extra])
        except Exception as error:  # ONNX Runtime raises its own types
            raise RuntimeError(f"decoder_joint: {error}") from error
        finally:
            if self._record is not None:
                self._record(len(targets), time.perf_counter() - began)
