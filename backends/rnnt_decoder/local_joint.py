"""The graphs of the joint inside the decoder's own process, where they run on the same processor anyway."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from onnx_sequence.session import OnnxSession
from rnnt_decoder.joint import RecordCall
from rnnt_decoder.joint_graphs import Arrays, JointGraphs

# Up to here one call for all labels costs less processor time than one for each, which leaves out rows that are done.
_FEW_ROWS = 8


@dataclass(frozen=True)
class LocalCall:
    """Runs a graph itself: no copies to another process, one thread.

    Attributes:
        graph: its ONNX file, in the version folder of its model.
        record: told of the rows of each call, and its seconds.
    """

    graph: Path
    record: RecordCall | None = None
    session: OnnxSession = field(init=False)

    def __post_init__(self) -> None:
        """Load the graph. Raises FileNotFoundError when there is none."""
        if not self.graph.is_file():
            raise FileNotFoundError(f"{self._model}'s graph {self.graph} does not exist")
        object.__setattr__(self, "session", OnnxSession(self.graph, intra_op_threads=1, allow_spinning=False))

    def __call__(self, names: list[str], inputs: Arrays) -> Arrays:
        """Run it. Raises RuntimeError when ONNX Runtime fails."""
        began = time.perf_counter()
        try:
            return self.session.run(inputs, names)
        except Exception as error:  # ONNX Runtime raises its own types
            raise RuntimeError(f"{self._model}: {error}") from error
        finally:
            if self.record is not None:
                self.record(len(inputs["TARGET"]), time.perf_counter() - began)

    @property
    def _model(self) -> str:
        return self.graph.parents[1].name


def local_joint(joint: Path, greedy: Path | None = None, record: RecordCall | None = None) -> JointGraphs:
    """Return a `joint.Joint` of graphs.

    Args:
        joint: ONNX file of `decoder_joint`.
        greedy: of `decoder_greedy`; None to do without.
        record: told of the rows of each call, and its seconds.

    Raises:
        FileNotFoundError: a file is missing.
    """
    run = LocalCall(joint, record)
    return JointGraphs(
        run,
        LocalCall(greedy, record) if greedy is not None else None,
        durations="DURATION" in run.session.output_names,
        most_searched=_FEW_ROWS,
    )
