"""Audio through shared memory: regions cut into slots, each for one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tritonclient.grpc import InferInput, aio
from tritonclient.utils import InferenceServerException

from amira_asr import protocol
from amira_asr.audio import Float32
from amira_asr.errors import AmiraError
from amira_asr.transport.placement import Placed
from amira_asr.transport.regions import Region, is_gone, remove_stale

_REGION_BYTES = 4 * 2**20
# More than a chunk of 560 ms, so that the last one of a stream, which is shorter, needs no region of its own.
_SMALLEST_SLOT = 65_536
_GOODBYE_SECS = 1.0
# A process that died may have requests in the server that still read its memory.
_SETTLE_SECS = 5.0


@dataclass(frozen=True)
class _Slot:
    region: Region
    offset: int
    byte_size: int


class SharedAudio:
    """Audio in memory that is shared with one server."""

    def __init__(self, triton: aio.InferenceServerClient, make_region: Callable[[int], Region]) -> None:
        """Prepare; nothing is made yet.

        Args:
            triton: the server.
            make_region: makes a region of so many bytes.
        """
        self._triton = triton
        self._make_region = make_region
        self._regions: dict[str, Region] = {}
        self._registered: set[str] = set()
        self._unanswered: set[str] = set()  # regions that the server may still read
        self._free: dict[int, list[_Slot]] = defaultdict(list)
        self._registering = asyncio.Lock()
        self._cleaning: asyncio.Task[None] | None = None

    async def place(self, samples: Float32) -> Placed:
        """Copy [samples] into a slot.

        Raises:
            AmiraError: there is no more memory to share.
            InferenceServerException: the server does not take it.
        """
        if not len(samples):
            return Placed(protocol.inputs(samples))
        slot = self._take(samples.nbytes)

        def free(*, answered: bool) -> None:
            self._free[slot.byte_size].append(slot)
            if not answered:
                self._unanswered.add(slot.region.name)

        try:
            await self._register(slot.region)
            slot.region.write(slot.offset, samples)
        except BaseException:
            free(answered=True)
            raise
        tensor = InferInput("AUDIO", [1, len(samples)], "FP32")
        tensor.set_shared_memory(slot.region.name, samples.nbytes, slot.offset)
        return Placed([tensor], free)

    def forget(self) -> None:
        """Note that the server may have been restarted: regions are registered again when they are next used."""
        self._registered.clear()

    async def close(self) -> None:
        """Give all regions back. What the server may still read is unregistered by the next client."""
        if self._cleaning is not None:
            self._cleaning.cancel()
        for name in self._registered - self._unanswered:
            with contextlib.suppress(InferenceServerException, asyncio.TimeoutError):
                await asyncio.wait_for(self._regions[name].unregister(self._triton), _GOODBYE_SECS)
        for region in self._regions.values():
            region.destroy()
        self._regions.clear()
        self._free.clear()

    def _take(self, byte_size: int) -> _Slot:
        slot_bytes = max(_SMALLEST_SLOT, 1 << (byte_size - 1).bit_length())
        free = self._free[slot_bytes]
        if not free:
            try:
                region = self._make_region(max(slot_bytes, _REGION_BYTES))
            except OSError as error:
                raise AmiraError(f"no memory to share with the server: {error}; is /dev/shm full?") from error
            self._regions[region.name] = region
            free += [_Slot(region, offset, slot_bytes) for offset in range(0, _REGION_BYTES, slot_bytes)]
        return free.pop()

    async def _register(self, region: Region) -> None:
        async with self._registering:
            if region.name in self._registered:
                return
            try:
                await region.register(self._triton)
            except InferenceServerException as error:
                if "already" not in str(error.message()):  # from before the connection broke
                    raise
            self._registered.add(region.name)
            if self._cleaning is None:
                self._cleaning = asyncio.ensure_future(self._clean())

    async def _clean(self) -> None:
        """Remove what dead clients left, here and in the server: it has just shown that it shares our memory."""
        remove_stale()
        await asyncio.sleep(_SETTLE_SECS)
        with contextlib.suppress(InferenceServerException):
            known = await self._triton.get_system_shared_memory_status(as_json=True)
            for name in filter(is_gone, known.get("regions", {})):
                with contextlib.suppress(InferenceServerException):  # another client was faster
                    await self._triton.unregister_system_shared_memory(name)
