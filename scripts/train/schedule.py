"""Training time and what follows from it."""

from dataclasses import dataclass

from scripts.train.settings import DataSettings, OptimizerSettings

INTERRUPTED = 4.0
"""A step this many times longer than usual was interrupted (the process stopped): it counts as that long."""


@dataclass
class TrainingClock:
    """Counts the time spent in training steps, so that pauses and evaluations cost nothing of the schedule."""

    budget_seconds: float
    active_seconds: float = 0.0
    usual_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one step."""
        if self.usual_seconds:
            seconds = min(seconds, INTERRUPTED * self.usual_seconds)
        self.usual_seconds += (seconds - self.usual_seconds) * (0.02 if self.usual_seconds else 1)
        self.active_seconds += seconds

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        return min(1.0, self.active_seconds / self.budget_seconds)

    @property
    def seconds_left(self) -> float:
        """Training time to come."""
        return max(0.0, self.budget_seconds - self.active_seconds)


def learning_rate(settings: OptimizerSettings, step: int, progress: float) -> float:
    """Linear warm-up in steps, a plateau, then a linear decay to `last` at the end of the time."""
    warmup = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    decay = max(0.0, progress - settings.plateau_share) / (1 - settings.plateau_share)
    return warmup * (settings.peak + (settings.last - settings.peak) * min(1.0, decay))


def augmentation_strength(settings: DataSettings, progress: float) -> float:
    """0 before the ramp, 1 after it."""
    first, last = settings.augmentation_ramp
    if last <= first:
        return float(progress >= first)
    return min(1.0, max(0.0, (progress - first) / (last - first)))
