"""The training loss: transducer plus auxiliary CTC."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss

from scripts.train.batches import Batch
from scripts.train.distillation import DistillationSettings, Imitation
from scripts.train.model import CHARACTER_FRAMES, AuxiliaryHeads, LayerTap
from scripts.train.rnnt_loss import rnnt_loss
from scripts.train.settings import LossSettings
from scripts.train.teacher_frames import TeacherFrames
from scripts.train.vocal_tract import VocalTractPerturbation, VocalTractSettings


@dataclass(frozen=True)
class LossTerms:
    """Scalars of one batch; `total` is their weighted sum and carries the graph.

    All are in nats per label but `imitation`, which is what `Imitation` returns.
    """

    total: Tensor
    transducer: Tensor
    characters: Tensor
    pieces: Tensor
    imitation: Tensor


def _per_label(loss: Tensor, lengths: Tensor) -> Tensor:
    return (loss / lengths.clamp(min=1)).mean()


def _ctc(logits: Tensor, labels: Tensor, frames: Tensor, lengths: Tensor, blank: int) -> Tensor:
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    loss = ctc_loss(log_probs, labels, frames, lengths, blank=blank, reduction="none", zero_infinity=True)
    return _per_label(loss, lengths)


class Objective(nn.Module):
    """Runs the model on a batch and weighs the losses by how far the training has come."""

    def __init__(
        self,
        model: Any,
        settings: LossSettings,
        vocal_tract: VocalTractSettings,
        distillation: DistillationSettings,
        teacher: TeacherFrames | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.blank: int = model.joint.num_classes_with_blank - 1
        self.heads = AuxiliaryHeads(model.cfg.encoder.d_model, self.blank)
        self._settings, self._distillation = settings, distillation
        self._imitation = Imitation(model.cfg.encoder.d_model, teacher) if teacher else None
        self._vocal_tract = VocalTractPerturbation(model.cfg.preprocessor.features, vocal_tract)
        self._early = LayerTap(model.encoder, settings.character_layer)
        model.joint.log_softmax = False  # logits on the CPU too: the loss normalises

    def weights(self, progress: float) -> tuple[float, float, float]:
        """Weights of transducer, characters, pieces at a share (0 to 1) of the training time."""
        settings = self._settings
        ramp = min(1.0, progress / settings.transducer_ramp_share) if settings.transducer_ramp_share > 0 else 1.0
        transducer = settings.transducer_start + (1 - settings.transducer_start) * ramp
        characters, pieces = (a + (b - a) * progress for a, b in (settings.character, settings.pieces))
        return transducer, characters, pieces

    def forward(self, batch: Batch, progress: float, *, heads_only: bool = False) -> LossTerms:
        """Loss of a batch; with `heads_only` the auxiliary heads learn but send no gradient to the encoder."""
        model = self.model
        with torch.no_grad():
            features, lengths = model.preprocessor(input_signal=batch.audio, length=batch.audio_lengths)
            features = self._vocal_tract(features)
            features = model.spec_augmentation(input_spec=features, length=lengths)
        with torch.autocast(batch.audio.device.type, dtype=torch.bfloat16):
            encoded, frames = model.encoder(audio_signal=features, length=lengths)
            predicted, _, _ = model.decoder(targets=batch.pieces, target_length=batch.piece_lengths)
            logits = model.joint(encoder_outputs=encoded, decoder_outputs=predicted)
            early, late = self._early.output, encoded.transpose(1, 2)
            if heads_only:
                early, late = early.detach(), late.detach()
            character_logits, piece_logits = self.heads.characters_of(early), self.heads.pieces(late)
            imitation = late.new_zeros(())
            if self._imitation:
                imitation = self._imitation(late, frames, batch.taught, batch.taught_lengths)
        frames = frames.to(torch.int64)
        loss = rnnt_loss(
            logits, batch.pieces, frames, batch.piece_lengths, blank=self.blank, fastemit=self._settings.fastemit
        )
        transducer = _per_label(loss, batch.piece_lengths)
        characters = _ctc(
            character_logits, batch.characters, CHARACTER_FRAMES * frames, batch.character_lengths, blank=0
        )
        pieces = _ctc(piece_logits, batch.pieces, frames, batch.piece_lengths, blank=self.blank)
        weights = self.weights(progress)
        first, last = self._distillation.weight
        total = weights[0] * transducer + weights[1] * characters + weights[2] * pieces
        total = total + (first + (last - first) * progress) * imitation
        return LossTerms(total, transducer.detach(), characters.detach(), pieces.detach(), imitation.detach())
