"""The training loop."""

import logging
import math
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from scripts.train.augmentation import Audio, Augmenter
from scripts.train.average import WeightAverage
from scripts.train.batches import Batch, BatchRequest, SpeechBatches, draw_epoch
from scripts.train.corpus import Corpus
from scripts.train.development import word_error_rates
from scripts.train.objective import LossTerms, Objective
from scripts.train.schedule import TrainingClock, augmentation_strength, learning_rate
from scripts.train.settings import TrainSettings
from scripts.train.subsampling import accelerate_subsampling
from scripts.train.targets import Targets
from scripts.train.teacher_frames import TeacherFrames
from scripts.train.workers import Worker

LOG_STEPS = 20
SAVE_SECONDS = 240.0
log = logging.getLogger(__name__)


class Trainer:
    """Trains a model for a given time; what it leaves in its folder at any moment is usable.

    Files: `best.nemo` (lowest mean WER on the development voices), `last.nemo` (latest averaged weights), `state.pt`
    (all that is needed to go on), `log.txt`.
    """

    def __init__(
        self, model: Any, packed: Path, folder: Path, settings: TrainSettings, worker: Worker, *, budget_seconds: float
    ) -> None:
        self._folder, self._settings, self._worker = folder, settings, worker
        self._teacher = TeacherFrames(packed) if settings.distillation.wanted else None
        objective = Objective(model, settings.loss, settings.vocal_tract, settings.distillation, self._teacher)
        self._objective = objective.to(worker.device)
        if worker.device.type == "cpu":
            accelerate_subsampling(model.encoder)
        self._objective.train()
        self._parameters = [parameter for parameter in self._objective.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=settings.optimizer.peak,
            betas=settings.optimizer.betas,
            weight_decay=settings.optimizer.weight_decay,
            fused=True,
        )
        self._average = WeightAverage(model, settings.optimizer.ema_decay)
        self._clock = TrainingClock(budget_seconds)
        self._step, self._heard_seconds, self._best = 0, 0.0, math.inf
        self._evaluated_at = self._saved_at = 0.0
        self._reported = 0.0, 0.0  # heard and active seconds at the latest report
        self._stop = False
        self._train, self._dev = Corpus(packed, "train"), Corpus(packed, "dev")

    def resume(self) -> bool:
        """Continue from `state.pt` if it is there; tells whether it was."""
        path = self._folder / "state.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self._worker.device, weights_only=True)
        self._objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._average.load(**state["average"])
        self._step, self._heard_seconds, self._best = state["step"], state["heard_seconds"], state["best"]
        self._clock.active_seconds = self._saved_at = state["active_seconds"]
        self._evaluated_at = state["evaluated_at"]
        self._reported = self._heard_seconds, self._clock.active_seconds
        return True

    def run(self) -> None:
        """Train until the time is spent or the process is told to end (SIGTERM, SIGINT)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        if self._worker.leads:
            hours = sum(utterance.seconds for utterance in self._train.utterances) / 3600
            size = sum(parameter.numel() for parameter in self._objective.model.parameters()) / 1e6
            log.info("%.2fM parameters, %.2f h to train on, %s", size, hours, self._worker.device)
            if self._step == 0:
                self._evaluate()
        for batch, waited in self._batches():
            terms, norm = self._learn(batch, waited)
            if self._worker.leads:
                self._keep_house(terms, norm)
            if self._stop or self._clock.progress >= 1:
                break
        if self._worker.leads and self._clock.progress >= 1:
            self._evaluate()
        elif self._worker.leads:
            self._save()
            log.info("stopped with %.0f minutes left; run the same command to go on", self._clock.seconds_left / 60)

    def _keep_house(self, terms: LossTerms, norm: float) -> None:
        """After a step: report, evaluate and save when it is time."""
        if self._step % LOG_STEPS == 0:
            self._report(terms, norm)
        if self._clock.active_seconds - self._evaluated_at >= 60 * self._settings.evaluate_minutes:
            self._evaluate()
        elif self._clock.active_seconds - self._saved_at >= SAVE_SECONDS:
            self._save()

    def _ask_to_stop(self, _number: int, _frame: Any) -> None:
        self._stop = True

    def _requests(self) -> Iterator[BatchRequest]:
        """Endless epochs; each process takes its share of every epoch's batches."""
        data = self._settings.data
        worker, first_step = self._worker, self._step
        for epoch in count():
            # All processes draw the same epoch; a resumed run draws epochs of its own.
            random = np.random.default_rng((first_step, epoch))
            batches = list(draw_epoch(self._train.utterances, dict(data.mix), data.batch_seconds, random))
            whole = len(batches) // worker.processes * worker.processes
            for position in range(worker.rank, whole, worker.processes):
                strength = augmentation_strength(data, self._clock.progress)
                yield BatchRequest(batches[position], strength, seed=hash((first_step, epoch, position)) & 0x7FFFFFFF)

    def _batches(self) -> Iterator[tuple[Batch, float]]:
        """Batches, each with the seconds that were spent waiting for it."""

        def other_speech(random: np.random.Generator) -> Audio:
            return self._train.audio(int(random.integers(len(self._train))))

        augmenter = Augmenter(self._settings.augmentation, other_speech)
        dataset = SpeechBatches(self._train, Targets(self._objective.model.tokenizer), augmenter, self._teacher)
        requests: Any = self._requests()  # a generator serves as a sampler of batch descriptions
        on_gpu, workers = self._worker.device.type == "cuda", self._settings.data.workers
        options: Any = {"batch_size": None, "sampler": requests, "num_workers": workers, "pin_memory": on_gpu}
        loader = iter(DataLoader(dataset, **options))
        while True:
            began = time.perf_counter()
            batch = next(loader)
            yield batch, time.perf_counter() - began

    def _learn(self, batch: Batch, waited: float) -> tuple[LossTerms, float]:
        """One optimiser step; `waited` seconds went into making the batch."""
        began = time.perf_counter()
        seconds_heard = batch.seconds  # while the lengths are still in host memory
        batch = batch.to(self._worker.device)
        settings = self._settings
        progress = self._clock.progress
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(settings.optimizer, self._step, progress)
        self._optimizer.zero_grad(set_to_none=True)
        terms = self._objective(batch, progress, heads_only=self._step < settings.loss.head_steps)
        terms.total.backward()
        local = [waited + time.perf_counter() - began, seconds_heard, float(self._stop)]
        seconds, heard, stop = self._worker.average(self._parameters, local)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, settings.optimizer.max_gradient_norm))
        if math.isfinite(norm):
            self._optimizer.step()
            self._average.update()
        else:
            log.warning("step %d skipped: gradient norm is %s", self._step, norm)
        self._step += 1
        self._stop = stop > 0
        self._heard_seconds += heard * self._worker.processes
        # With several processes the optimiser's time is left out: every clock must show the same.
        self._clock.add(seconds if self._worker.processes > 1 else waited + time.perf_counter() - began)
        return terms, norm

    def _report(self, terms: LossTerms, norm: float) -> None:
        heard, active = self._reported
        speed = (self._heard_seconds - heard) / max(1e-9, self._clock.active_seconds - active)
        self._reported = self._heard_seconds, self._clock.active_seconds
        log.info(
            "step %d  transducer %.3f  characters %.3f  pieces %.3f  imitation %.3f  norm %.2f  lr %.2e  heard %.1f h"
            "  %.0f audio s/s  %.1f min left",
            self._step,
            terms.transducer,
            terms.characters,
            terms.pieces,
            terms.imitation,
            norm,
            self._optimizer.param_groups[0]["lr"],
            self._heard_seconds / 3600,
            speed,
            self._clock.seconds_left / 60,
        )

    def _evaluate(self) -> None:
        model = self._objective.model
        with self._average.applied():
            rates, pairs = word_error_rates(model, self._dev, self._worker.device)
            mean = sum(rates.values()) / len(rates)
            shown = "  ".join(f"{source} {100 * rate:.1f}" for source, rate in rates.items())
            log.info("dev WER %%: mean %.1f  %s  (step %d)", 100 * mean, shown, self._step)
            for reference, hypothesis in pairs[:: len(pairs) // 4]:
                log.info("    %s | %s", reference, hypothesis)
            if mean < self._best:
                self._best = mean
                self._save_model("best.nemo")
        self._evaluated_at = self._clock.active_seconds
        self._save()

    def _save(self) -> None:
        with self._average.applied():
            self._save_model("last.nemo")
        self._saved_at = self._clock.active_seconds
        state = {
            "objective": self._objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state(),
            "step": self._step,
            "heard_seconds": self._heard_seconds,
            "active_seconds": self._clock.active_seconds,
            "evaluated_at": self._evaluated_at,
            "best": self._best,
        }
        draft = self._folder / "draft-state.pt"
        torch.save(state, draft)
        draft.replace(self._folder / "state.pt")

    def _save_model(self, name: str) -> None:
        draft = self._folder / f"draft-{name}"
        self._objective.model.save_to(str(draft))
        draft.replace(self._folder / name)
