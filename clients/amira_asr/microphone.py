"""The default microphone, through the optional package sounddevice."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from amira_asr.audio import MODEL_SAMPLE_RATE
from amira_asr.errors import AmiraError

_BLOCK_SAMPLES = MODEL_SAMPLE_RATE // 50


def record() -> Iterator[bytes]:
    """Yield 16-bit mono audio at 16 kHz in buffers of 20 ms until interrupted.

    Raises:
        AmiraError: sounddevice or its PortAudio library is not installed, or there is no microphone.
    """
    try:
        import sounddevice  # noqa: PLC0415  optional
    except (ImportError, OSError) as error:
        raise AmiraError(
            "recording needs the package sounddevice and the PortAudio library: "
            "pip install 'amira-asr[microphone]' (Debian: apt install libportaudio2)"
        ) from error
    blocks: queue.Queue[bytes] = queue.Queue()
    try:
        with sounddevice.RawInputStream(
            samplerate=MODEL_SAMPLE_RATE,
            channels=1,
            dtype="int16",
            blocksize=_BLOCK_SAMPLES,
            callback=lambda data, *_: blocks.put(bytes(data)),
        ):
            while True:
                yield blocks.get()
    except sounddevice.PortAudioError as error:
        raise AmiraError(f"no usable microphone: {error}") from error
