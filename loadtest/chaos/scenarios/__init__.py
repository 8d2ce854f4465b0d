"""The scenarios, in the order in which they are played."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from loadtest.chaos.scenarios import clients, limits, lines, processes, speech
from loadtest.chaos.stage import Outcome, Stage

Play = Callable[[Stage], Awaitable[Outcome]]

_ALL: tuple[Play, ...] = (
    processes.undisturbed,
    processes.server_killed,
    processes.server_killed_again,
    processes.one_of_two_killed,
    processes.one_of_two_frozen,
    processes.preprocessor_killed,
    processes.encoder_killed,
    processes.decoder_killed,
    processes.decoder_greedy_killed,
    processes.server_frozen,
    processes.encoder_frozen,
    processes.encoder_hung,
    speech.long_streams_killed,
    speech.recordings_killed,
    lines.connection_cut,
    lines.connection_away,
    lines.connection_cut_again,
    lines.connection_slow,
    lines.connection_narrow,
    lines.connection_silent,
    lines.audio_damaged,
    lines.connection_damaged,
    clients.client_frozen,
    clients.clients_cut_off,
    limits.places_exhausted,
    limits.shared_memory_full,
    limits.streams_abandoned,
)

SCENARIOS: dict[str, Play] = {play.__name__.replace("_", " "): play for play in _ALL}
