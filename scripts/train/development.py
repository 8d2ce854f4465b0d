"""Word error rate on the voices set aside for development."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jiwer
import torch

from scripts.text_normalization import normalize
from scripts.train.batches import pad
from scripts.train.corpus import Corpus

BATCH = 16


@torch.no_grad()
def transcribe(model: Any, corpus: Corpus, indexes: Sequence[int], device: torch.device) -> list[str]:
    """Greedy transcripts of some utterances, in the encoder's first attention context; levels as recorded."""
    audio, lengths = pad([corpus.audio(index) for index in indexes], torch.float32)
    features, frames = model.preprocessor(input_signal=audio.to(device), length=lengths.to(device))
    encoded, encoded_lengths = model.encoder(audio_signal=features, length=frames)
    hypotheses = model.decoding.rnnt_decoder_predictions_tensor(encoder_output=encoded, encoded_lengths=encoded_lengths)
    return [hypothesis.text for hypothesis in hypotheses]


def word_error_rates(
    model: Any, corpus: Corpus, device: torch.device
) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Score all of `corpus`.

    Returns:
        word error rate of each source (1.0 is 100 %), and (reference, hypothesis) of every utterance.
    """
    references: dict[str, list[str]] = defaultdict(list)
    hypotheses: dict[str, list[str]] = defaultdict(list)
    # Like lengths together: padding costs encoder time.
    order = sorted(range(len(corpus)), key=lambda index: corpus.utterances[index].samples)
    training = model.training
    model.eval()
    for start in range(0, len(order), BATCH):
        indexes = order[start : start + BATCH]
        for index, text in zip(indexes, transcribe(model, corpus, indexes, device), strict=True):
            utterance = corpus.utterances[index]
            references[utterance.source].append(utterance.text)
            hypotheses[utterance.source].append(normalize(text))
    model.train(training)
    rates = {source: float(jiwer.wer(references[source], hypotheses[source])) for source in sorted(references)}
    pairs = [pair for source in rates for pair in zip(references[source], hypotheses[source], strict=True)]
    return rates, pairs
