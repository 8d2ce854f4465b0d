"""Length-bucketed batches drawn from a mix of sources."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scripts.train.augmentation import Audio, Augmenter
from scripts.train.corpus import Corpus, Utterance
from scripts.train.distillation import stretch
from scripts.train.targets import Targets
from scripts.train.teacher_frames import WIDTH, Frames, TeacherFrames


@dataclass(frozen=True)
class BatchRequest:
    """What one batch is made of: indexes into the corpus, augmentation strength (0 to 1), random seed."""

    indexes: list[int]
    strength: float
    seed: int


@dataclass(frozen=True)
class Batch:
    """Padded tensors of one batch.

    Attributes:
        audio: FP32 [B, samples], 16 kHz.
        audio_lengths: INT64 [B].
        pieces: INT64 [B, U], BPE labels.
        piece_lengths: INT64 [B].
        characters: INT64 [B, C], labels of the character head.
        character_lengths: INT64 [B].
        taught: FP16 [B, S, WIDTH], what the teacher heard; S is 0 without one.
        taught_lengths: INT64 [B].
    """

    audio: Tensor
    audio_lengths: Tensor
    pieces: Tensor
    piece_lengths: Tensor
    characters: Tensor
    character_lengths: Tensor
    taught: Tensor
    taught_lengths: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))

    def pin_memory(self) -> "Batch":
        """Copy to pinned memory, from where a GPU fetches while other work goes on; the data loader calls this."""
        return Batch(*(tensor.pin_memory() for tensor in vars(self).values()))

    @property
    def seconds(self) -> float:
        """Audio in the batch, without padding."""
        return float(self.audio_lengths.sum()) / 16_000


def pad(rows: Sequence[Audio | Frames | list[int]], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Stack rows of different length, zero-padded, with their lengths (INT64); further dimensions are alike."""
    lengths = torch.tensor([len(row) for row in rows])
    stacked = torch.zeros(len(rows), max(1, int(lengths.max())), *np.shape(rows[0])[1:], dtype=dtype)
    for target, row in zip(stacked, rows, strict=True):
        target[: len(row)] = torch.as_tensor(row, dtype=dtype)
    return stacked, lengths


class SpeechBatches(Dataset[Batch]):
    """Makes the batch that a `BatchRequest` describes; safe in worker processes."""

    def __init__(
        self, corpus: Corpus, targets: Targets, augmenter: Augmenter, teacher: TeacherFrames | None = None
    ) -> None:
        self._corpus, self._targets, self._augmenter, self._teacher = corpus, targets, augmenter, teacher

    def __getitem__(self, request: BatchRequest) -> Batch:
        random = np.random.default_rng(request.seed)
        audio = [self._augmenter(self._corpus.audio(index), request.strength, random) for index in request.indexes]
        texts = [self._corpus.utterances[index].text for index in request.indexes]
        return Batch(
            *pad(audio, torch.float32),
            *pad([self._targets.pieces(text) for text in texts], torch.int64),
            *pad([self._targets.characters(text) for text in texts], torch.int64),
            *pad([self._taught(*item) for item in zip(request.indexes, audio, strict=True)], torch.float16),
        )

    def _taught(self, index: int, audio: Audio) -> Frames:
        """Frames of the teacher for an augmented utterance, whose length changes by speed only."""
        if self._teacher is None:
            return np.zeros((0, WIDTH), np.float16)
        utterance = self._corpus.utterances[index]
        return stretch(self._teacher(utterance), utterance.samples, len(audio))


def draw_epoch(
    utterances: Sequence[Utterance], mix: dict[str, float], batch_seconds: float, random: np.random.Generator
) -> Iterator[list[int]]:
    """One pass over the mix in batches of like lengths, in random order.

    Args:
        utterances: the corpus.
        mix: passes over each source per epoch; 1.5 takes every utterance once and a random half again.
        batch_seconds: audio in a batch including padding.
        random: source of all draws.

    Raises:
        ValueError: a source of the corpus is not in the mix.
    """
    missing = sorted({utterance.source for utterance in utterances} - set(mix))
    if missing:
        raise ValueError(f"mix has no weight for {', '.join(missing)}; it has {', '.join(mix)}")
    chosen: list[int] = []
    for index, utterance in enumerate(utterances):
        weight = mix[utterance.source]
        chosen += [index] * (int(weight) + (random.random() < weight % 1))
    # Jitter: else the same utterances would meet in every epoch.
    length = {index: utterances[index].seconds for index in chosen}
    chosen.sort(key=lambda index: length[index] + random.uniform(0, 0.5))
    batches: list[list[int]] = [[]]
    for index in chosen:
        if batches[-1] and (len(batches[-1]) + 1) * length[index] > batch_seconds:
            batches.append([])
        batches[-1].append(index)
    for position in random.permutation(len(batches)):
        yield batches[position]
