"""The requests of one `execute` call of a sequence model: what every such model does around its own work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from common.sequences import Sequence, SequenceTable

if TYPE_CHECKING:  # so that this module works without a server
    from common.triton_adapter import Outputs, Request

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Step(Generic[StateT]):
    """A request and the live sequence that it belongs to."""

    request: Request
    sequence: Sequence[StateT]

    @property
    def releases(self) -> bool:
        """Whether this is the END of a failed sequence: nothing is computed, later steps are only released."""
        return self.sequence.failure is not None


def process_sequences(
    table: SequenceTable[StateT],
    requests: list[Request],
    process: Callable[[list[Step[StateT]]], list[Outputs | Exception]],
    admit: Callable[[Request], None] | None = None,
) -> list[Outputs | Exception]:
    """Find the sequence of each request, process all of them together, and free what has ended.

    Args:
        table: the owner of the sequences.
        requests: of different sequences, as Triton's `oldest` strategy gives them.
        process: returns, in order, the outputs of each step or the error that fails its sequence.
        admit: asked about every START, before anything of a live sequence of that ID is lost; raises to refuse it.

    Returns:
        Outputs or error of each request, in order.
    """
    table.expire()
    results: list[Outputs | Exception] = [RuntimeError("not processed")] * len(requests)
    entered: list[int] = []
    steps: list[Step[StateT]] = []
    for index, request in enumerate(requests):
        try:
            if request.start and admit is not None:
                admit(request)
            sequence = table.enter(request.sequence_id, start=request.start, end=request.end)
        except ValueError as error:
            results[index] = error
        else:
            entered.append(index)
            steps.append(Step(request, sequence))
    for index, result in zip(entered, _processed(steps, process), strict=True):
        results[index] = result
        if isinstance(result, Exception):
            table.fail(requests[index].sequence_id, str(result))
    for index in entered:
        if requests[index].end:
            table.end(requests[index].sequence_id)
    return results


def _processed(
    steps: list[Step[StateT]], process: Callable[[list[Step[StateT]]], list[Outputs | Exception]]
) -> list[Outputs | Exception]:
    """Process steps. An error that escapes is a defect of ours, and nobody knows what it left of their states."""
    try:
        return process(steps) if steps else []
    except Exception as error:  # so none of these sequences goes on
        return [error] * len(steps)
