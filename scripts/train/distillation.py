"""The encoder imitates a stronger recogniser's, frame by frame, beside learning the transcripts."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scripts.train.teacher_frames import WIDTH, Frames, TeacherFrames, frames_in

_TEACHER_PER_STUDENT = 2
"""Frames of 40 ms per encoder frame of 80 ms."""
_HIDDEN = 512


@dataclass
class DistillationSettings:
    """Weight of the imitation at the start and at the end of the training; both 0 need no teacher."""

    weight: tuple[float, float] = (0.0, 0.0)

    @property
    def wanted(self) -> bool:
        """Whether there is anything to imitate."""
        return max(self.weight) > 0


def stretch(frames: Frames, samples: int, new_samples: int) -> Frames:
    """Follow a change of speed: linear interpolation in time.

    Args:
        frames: FP16 [T, WIDTH] of a recording of `samples`.
        samples: its length.
        new_samples: its length after the change.

    Returns:
        FP16 [frames_in(new_samples), WIDTH].
    """
    if new_samples == samples:
        return np.array(frames)
    positions = (np.arange(frames_in(new_samples)) + 0.5) * (samples / new_samples) - 0.5
    positions = positions.clip(0, len(frames) - 1)
    below = positions.astype(int)
    above = np.minimum(below + 1, len(frames) - 1)
    share = (positions - below).astype(np.float32)[:, None]
    wide = frames.astype(np.float32)
    stretched: Frames = (wide[below] * (1 - share) + wide[above] * share).astype(np.float16)
    return stretched


class Imitation(nn.Module):
    """Guesses the teacher's frames from the encoder's; dropped when the training is over.

    The error is the mean square over the teacher's dimensions, each scaled to variance 1: 1.0 is knowing nothing. The
    frames compared are those centred where the encoder's frame ends (offsets -1 and 0 at 40 ms: of all offsets those at
    which a linear map from a trained encoder explains most).
    """

    def __init__(self, width: int, teacher: TeacherFrames) -> None:
        super().__init__()
        self.guess = nn.Sequential(
            nn.Linear(width, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _TEACHER_PER_STUDENT * WIDTH)
        )
        mean, deviation = teacher.statistics()
        self.register_buffer("_mean", torch.from_numpy(mean))
        self.register_buffer("_deviation", torch.from_numpy(deviation))

    def forward(self, encoded: Tensor, lengths: Tensor, taught: Tensor, taught_lengths: Tensor) -> Tensor:
        """Mean error over all frames of a batch.

        Args:
            encoded: [B, T, D].
            lengths: INT64 [B].
            taught: FP16 or FP32 [B, S, WIDTH].
            taught_lengths: INT64 [B].

        Returns:
            scalar.
        """
        goal = (taught - self._mean) / self._deviation
        goal = torch.cat([goal[:, :1], goal], dim=1)  # offset -1 comes first
        frames = min(goal.shape[1] // _TEACHER_PER_STUDENT, encoded.shape[1])
        goal = goal[:, : frames * _TEACHER_PER_STUDENT].unflatten(1, (-1, _TEACHER_PER_STUDENT)).flatten(2)
        error = (self.guess(encoded[:, :frames]).float() - goal).square().mean(-1)
        valid = torch.minimum(lengths, taught_lengths // _TEACHER_PER_STUDENT)
        heard = torch.arange(frames, device=error.device) < valid[:, None]
        return (error * heard).sum() / heard.sum().clamp(min=1)
