"""Memory that a client and a Triton server on the same host share."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import mmap
import os
import uuid
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tritonclient.grpc import aio

from amira_asr.audio import Float32
from amira_asr.errors import AmiraError

_FOLDER = Path("/dev/shm")  # noqa: S108  where POSIX shared memory is on Linux
NAME_PREFIX = "amira-asr-"


class Region(Protocol):
    """A piece of memory with a name."""

    name: str

    def write(self, offset: int, samples: Float32) -> None:
        """Copy [samples] to a place in it, in bytes from its start."""

    async def register(self, triton: aio.InferenceServerClient) -> None:
        """Tell the server. Raises InferenceServerException."""

    async def unregister(self, triton: aio.InferenceServerClient) -> None:
        """Have the server let go of it. Raises InferenceServerException."""

    def destroy(self) -> None:
        """Give it back. The server keeps what it has until it lets go."""


class SystemRegion:
    """POSIX shared memory. A lock on its file lives as long as this process, however that ends."""

    def __init__(self, byte_size: int) -> None:
        """Make one, all of it reserved. Raises OSError when there is not so much."""
        self.name = f"{NAME_PREFIX}{uuid.uuid4()}"
        self._byte_size = byte_size
        self._path = _FOLDER / self.name
        # Nobody takes it for a dead process's before it is locked: it has another name until then.
        unlocked = _FOLDER / f"new-{self.name}"
        self._file = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(self._file, 0, byte_size)  # else a full /dev/shm would end the process at a write
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._map = mmap.mmap(self._file, byte_size)
            unlocked.rename(self._path)
        except BaseException:
            unlocked.unlink(missing_ok=True)
            os.close(self._file)
            raise

    def write(self, offset: int, samples: Float32) -> None:
        """Copy [samples] to a place in it, in bytes from its start."""
        np.frombuffer(self._map, np.float32, len(samples), offset)[:] = samples

    async def register(self, triton: aio.InferenceServerClient) -> None:
        """Tell the server. Raises InferenceServerException."""
        await triton.register_system_shared_memory(self.name, f"/{self.name}", self._byte_size)

    async def unregister(self, triton: aio.InferenceServerClient) -> None:
        """Have the server let go of it. Raises InferenceServerException."""
        await triton.unregister_system_shared_memory(self.name)

    def destroy(self) -> None:
        """Give it back."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(BufferError):  # an array of it is still alive; it goes with that
            self._map.close()
        os.close(self._file)


def remove_stale() -> None:
    """Remove the memory of processes that ended without giving it back."""
    for path in _FOLDER.glob(f"{NAME_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or removed meanwhile
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
                path.unlink(missing_ok=True)
            finally:
                os.close(file)


def is_gone(name: str) -> bool:
    """Whether a region of a client of this host has been removed."""
    return name.startswith(NAME_PREFIX) and not (_FOLDER / name).exists()


class CudaRegion:
    """Memory of a GPU, through CUDA's handles between processes. CUDA frees it when its process ends.

    Not run on a GPU yet.
    """

    def __init__(self, byte_size: int, device: int = 0) -> None:
        """Make one. Raises AmiraError: no cuda-python, or no GPU."""
        try:
            from cuda.bindings import runtime  # noqa: PLC0415  optional
        except ImportError as error:
            raise AmiraError(
                "shared_memory is 'cuda', which needs cuda-python: pip install 'amira-asr[cuda]'"
            ) from error
        self.name = f"{NAME_PREFIX}cuda-{uuid.uuid4()}"
        self._runtime, self._device, self._byte_size = runtime, device, byte_size
        self._call(runtime.cudaSetDevice, device)
        self._address = int(self._call(runtime.cudaMalloc, byte_size))
        self._handle = bytes(self._call(runtime.cudaIpcGetMemHandle, self._address).reserved)

    def write(self, offset: int, samples: Float32) -> None:
        """Copy [samples] to a place in it, in bytes from its start."""
        data = np.ascontiguousarray(samples)
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(self._runtime.cudaMemcpy, self._address + offset, data.ctypes.data, data.nbytes, kind)

    async def register(self, triton: aio.InferenceServerClient) -> None:
        """Tell the server. Raises InferenceServerException."""
        handle = base64.b64encode(self._handle)
        await triton.register_cuda_shared_memory(self.name, handle, self._device, self._byte_size)

    async def unregister(self, triton: aio.InferenceServerClient) -> None:
        """Have the server let go of it. Raises InferenceServerException."""
        await triton.unregister_cuda_shared_memory(self.name)

    def destroy(self) -> None:
        """Give it back."""
        self._call(self._runtime.cudaFree, self._address)

    def _call(self, function: Any, *arguments: Any) -> Any:
        status, *values = function(*arguments)
        if int(status) != 0:
            raise AmiraError(f"shared_memory is 'cuda', but {function.__name__} failed with {status}")
        return values[0] if values else None
