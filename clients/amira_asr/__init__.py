"""Client of a streaming speech recogniser that runs inside NVIDIA Triton.

```python
from amira_asr import AsrClient, Final, load_audio

with AsrClient() as client:
    for event in client.stream([load_audio("talk.mp3")]):  # or any buffers, as they come
        print("final:" if isinstance(event, Final) else "...", event.text)
    print(client.transcribe("talk.mp3").words)
```

`AsyncAsrClient` is the same for asyncio. `Settings` come from config.toml, config.yaml and AMIRA_* variables,
`DecodingOptions` with each stream or recording. What goes wrong is an `AmiraError`.
"""

from amira_asr.aio import AsyncAsrClient
from amira_asr.audio import load_audio
from amira_asr.client import AsrClient
from amira_asr.endpoint import EndpointState
from amira_asr.errors import (
    AmiraError,
    AudioDamaged,
    CircuitOpen,
    ClientClosed,
    DeadlineExceeded,
    InvalidAudio,
    InvalidRequest,
    RateLimited,
    SequenceLost,
    ServerError,
    ServerFull,
    ServerStopping,
    ServerUnavailable,
)
from amira_asr.events import Alternative, Final, Partial, Segment, ServerModel, Token, Transcript, Word
from amira_asr.options import FINALIZE, DecodingOptions
from amira_asr.settings import Settings, SettingsError, load_settings

__all__ = [
    "FINALIZE",
    "Alternative",
    "AmiraError",
    "AsrClient",
    "AsyncAsrClient",
    "AudioDamaged",
    "CircuitOpen",
    "ClientClosed",
    "DeadlineExceeded",
    "DecodingOptions",
    "EndpointState",
    "Final",
    "InvalidAudio",
    "InvalidRequest",
    "Partial",
    "RateLimited",
    "Segment",
    "SequenceLost",
    "ServerError",
    "ServerFull",
    "ServerModel",
    "ServerStopping",
    "ServerUnavailable",
    "Settings",
    "SettingsError",
    "Token",
    "Transcript",
    "Word",
    "load_audio",
    "load_settings",
]
