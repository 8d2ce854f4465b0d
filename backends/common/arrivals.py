"""When requests arrived in the first step, for the last one: steps are processes, and Triton tells neither.

Both map a small file in the launcher's folder. An entry may be overwritten by another sequence; then the age
is not known, and one observation of thousands is missing.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import time
from pathlib import Path

from common.launcher import Launcher
from common.sequences import SequenceId

_ENTRY = struct.Struct("=QQ")  # hash of the ID, monotonic nanoseconds: one clock for all processes of a machine
_ENTRIES = 8192


class Arrivals:
    """The latest START or END of each sequence."""

    def __init__(self, path: Path) -> None:
        """Map the file, made where there is none."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _ENTRIES * _ENTRY.size)
            self._map = mmap.mmap(descriptor, _ENTRIES * _ENTRY.size)
        finally:
            os.close(descriptor)

    @staticmethod
    def of_server() -> Arrivals | None:
        """Return those of this server; None where there is no launcher."""
        folder = Launcher.find().folder
        return None if folder is None else Arrivals(folder / "arrivals")

    def note(self, sequence_id: SequenceId) -> None:
        """Remember that a request of the sequence arrives now."""
        key = key_of(sequence_id)
        _ENTRY.pack_into(self._map, key % _ENTRIES * _ENTRY.size, key, time.monotonic_ns())

    def age(self, sequence_id: SequenceId) -> float | None:
        """Return the seconds since; None when that is not known."""
        key = key_of(sequence_id)
        found, arrived = _ENTRY.unpack_from(self._map, key % _ENTRIES * _ENTRY.size)
        return (time.monotonic_ns() - arrived) / 1e9 if found == key else None


def key_of(identity: object) -> int:
    """Return 64 bits that stand for an ID in a file."""
    return int.from_bytes(hashlib.blake2b(repr(identity).encode(), digest_size=8).digest(), "little")
