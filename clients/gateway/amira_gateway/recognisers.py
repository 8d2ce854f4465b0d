"""Which recognisers the server has, by the names that callers use."""

from __future__ import annotations

import asyncio
import math
import re
import time
from dataclasses import dataclass

from amira_asr import AsyncAsrClient, ServerModel, Settings
from amira_asr.endpoint import EndpointState
from amira_asr.setting_values import parse_aliases
from amira_gateway.refusals import Refusal

DEFAULT = "default"
_FRESH_SECS = 5.0
_UNKNOWN_SECS = 1.0
_VERSION = re.compile(r"v\d+")


@dataclass(frozen=True)
class Frames:
    """How a recogniser cuts audio to frames.

    Attributes:
        hop_samples: samples between feature frames.
        subsampling: feature frames to an encoder frame.
    """

    hop_samples: int
    subsampling: int

    def features(self, samples: int) -> int:
        """Return how many feature frames [samples] have."""
        return samples // self.hop_samples

    def encoded(self, samples: int) -> int:
        """Return how many encoder frames [samples] have.

        NeMo subsamples by convolutions of stride 2 that are padded on both sides (`calc_length` in its
        `subsampling.py`), each of which takes n frames to n // 2 + 1.
        """
        frames = self.features(samples)
        if frames:
            for _ in range(round(math.log2(self.subsampling))):
                frames = frames // 2 + 1
        return frames


@dataclass(frozen=True)
class Recogniser:
    """A recogniser of the server.

    Attributes:
        name: what callers call it.
        streaming: its ensemble for streams, None when that is not ready.
        batch: its ensemble for recordings, None when that is not ready.
        frames: None for models whose front end does not say.
    """

    name: str
    streaming: ServerModel | None
    batch: ServerModel | None
    frames: Frames | None


class Recognisers:
    """Finds recognisers, and keeps a client for each."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is sent yet. Call it inside a running event loop."""
        self._settings = settings
        self._aliases = parse_aliases(settings.gateway_model_aliases)
        # Looks things up. It does not try again, so that callers are refused at once while there is no server.
        update = {"retry_attempts": 1, "circuit_breaker_failures": 1, "circuit_breaker_recovery_secs": 1.0}
        self._lookup = AsyncAsrClient(settings.model_copy(update=update))
        self._clients = {DEFAULT: AsyncAsrClient(settings)}
        self._known: dict[str, Recogniser] = {}
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.gather(*(client.close() for client in (self._lookup, *self._clients.values())))

    async def all(self) -> list[Recogniser]:
        """Return the recognisers that were ready a moment ago, the default one first.

        What is known is looked up anew beside the requests, so that none waits for a server that is slow to say.

        Raises:
            AmiraError: nothing is known yet, and the server cannot be asked.
        """
        if not self._known:
            await self._look_up()
        elif time.monotonic() - self._looked_at > _FRESH_SECS:
            self._begin_to_look()
        return list(self._known.values())

    async def find(self, name: str) -> Recogniser:
        """Return a recogniser by its name, an alias, or the name of one of its ensembles in Triton.

        Raises:
            Refusal: there is none (404).
            AmiraError: the server cannot be asked.
        """
        wanted = self._aliases.get(name, name)
        found = _named(wanted, await self.all())
        if found is None and time.monotonic() - self._looked_at > _UNKNOWN_SECS:  # it may be new
            await self._look_up()
            found = _named(wanted, list(self._known.values()))
        if found is None:
            allowed = ", ".join([*self._known, *self._aliases])
            raise Refusal(404, "model_not_found", f"model is {name!r}; allowed: {allowed}", param="model")
        return found

    def client(self, recogniser: Recogniser) -> AsyncAsrClient:
        """Return the client that talks to a recogniser."""
        if recogniser.name not in self._clients:
            settings = self._settings
            if recogniser.name != DEFAULT:
                names = {"streaming_model_name": recogniser.streaming, "batch_model_name": recogniser.batch}
                update = {key: model.name for key, model in names.items() if model}
                settings = settings.model_copy(update=update)
            self._clients[recogniser.name] = AsyncAsrClient(settings)
        return self._clients[recogniser.name]

    def circuits(self, recogniser: Recogniser) -> tuple[EndpointState, ...]:
        """Return how the servers have done lately, for this recogniser."""
        return self.client(recogniser).endpoints

    async def server_ready(self) -> bool:
        """Whether Triton answers and all its models are ready."""
        return await self._lookup.is_ready()

    async def _look_up(self) -> None:
        """Look up the recognisers; several who want to know ask once."""
        await asyncio.shield(self._begin_to_look())

    def _begin_to_look(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._refresh())
            self._looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._looking

    async def _refresh(self) -> None:
        self._known = await self._look()
        self._looked_at = time.monotonic()

    async def _look(self) -> dict[str, Recogniser]:
        models = {model.name: model for model in await self._lookup.models()}
        found = {}
        for prefix in sorted({name for model in models if (name := self._prefix(model)) is not None}):
            streaming = models.get(prefix + self._settings.streaming_model_name)
            batch = models.get(prefix + self._settings.batch_model_name)
            name = prefix.rstrip(".") or DEFAULT
            frames = await self._frames(batch or streaming)
            found[name] = Recogniser(name, streaming, batch, frames)
        return found

    def _prefix(self, model: str) -> str | None:
        """Return what stands before the usual name of an ensemble: nothing, or `zipformer.`; None for other models."""
        for usual in (self._settings.streaming_model_name, self._settings.batch_model_name):
            if model == usual or model.endswith(f".{usual}"):
                prefix = model.removesuffix(usual)
                last = prefix.rstrip(".").rpartition(".")[2]
                return None if _VERSION.fullmatch(last) else prefix
        return None

    async def _frames(self, model: ServerModel | None) -> Frames | None:
        if model is None:
            return None
        ensemble = await self._lookup.model_config(model.name)
        front_end = await self._lookup.model_config(ensemble["ensemble_scheduling"]["step"][0]["model_name"])
        frame_secs = float(ensemble["parameters"]["frame_secs"]["string_value"])
        hop = front_end.get("parameters", {}).get("hop_samples")
        if hop is None:
            return None
        hop_samples = int(hop["string_value"])
        return Frames(hop_samples, round(frame_secs * model.sample_rate / hop_samples))


def _named(name: str, recognisers: list[Recogniser]) -> Recogniser | None:
    for recogniser in recognisers:
        ensembles = [model.name for model in (recogniser.streaming, recogniser.batch) if model]
        if name in (recogniser.name, *ensembles):
            return recogniser
    return None
