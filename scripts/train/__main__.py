"""`python -m scripts.train`: train the recogniser; run again to go on where it stopped."""

import argparse
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from scripts.release.training_runs import record_run
from scripts.train.model import new_model, restore_model, train_tokenizer
from scripts.train.settings import load
from scripts.train.trainer import Trainer
from scripts.train.workers import Worker, joined


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    config: list[Path]
    packed: Path
    work: Path
    minutes: float
    processes: int
    init_from: Path | None
    overrides: list[str]


def default_configs() -> list[Path]:
    """Return the configurations of the default model on this machine."""
    folder = Path(__file__).parent
    return [folder / "small.yaml", *([folder / "gpu.yaml"] if torch.cuda.is_available() else [])]


def parse() -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=default_configs(),
        help="later files override earlier ones (default: small.yaml, and gpu.yaml where there is a GPU)",
    )
    parser.add_argument(
        "--packed", type=Path, default=Path("work/packed"), help="made by `python -m scripts.train.pack`"
    )
    parser.add_argument("--work", type=Path, default=Path("work/train"), help="checkpoints and log; resumed from")
    parser.add_argument("--minutes", type=float, default=150, help="training time that the schedule is planned for")
    parser.add_argument("--processes", type=int, default=1, help="one per core, or one per GPU")
    parser.add_argument("--init-from", type=Path, help="start from the weights and tokenizer of this .nemo")
    parser.add_argument(
        "--set", dest="overrides", nargs="*", default=[], metavar="KEY=VALUE", help="train.optimizer.peak=1e-3 …"
    )
    arguments = Arguments(**vars(parser.parse_args()))
    if arguments.minutes <= 0:
        parser.error(f"--minutes is {arguments.minutes}, allowed is more than 0")
    return arguments


def train(rank: int, arguments: Arguments) -> None:
    """What each process runs."""
    with joined(rank, arguments.processes, arguments.work) as worker:
        _train(worker, arguments)


def _train(worker: Worker, arguments: Arguments) -> None:
    if worker.leads:
        file = logging.FileHandler(arguments.work / "log.txt")
        handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), file]
        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers, force=True)
        logging.getLogger("scripts").setLevel(logging.INFO)
    settings, config = load(arguments.config, arguments.overrides)
    torch.manual_seed(worker.rank)
    last = arguments.work / "last.nemo"
    if last.is_file():
        model = restore_model(last, config)
    elif arguments.init_from:
        model = restore_model(arguments.init_from, config)
    else:
        model = new_model(config, arguments.work / "tokenizer")
    trainer = Trainer(model, arguments.packed, arguments.work, settings, worker, budget_seconds=60 * arguments.minutes)
    trainer.resume()
    trainer.run()


def main() -> None:
    """Prepare the work folder, then start the processes."""
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    (arguments.work / "rendezvous").unlink(missing_ok=True)
    record_run(arguments.work)
    if not (arguments.init_from or (arguments.work / "last.nemo").is_file()):
        settings, _ = load(arguments.config, arguments.overrides)
        train_tokenizer(arguments.packed, arguments.work / "tokenizer", settings.vocabulary)
    if arguments.processes == 1:
        train(0, arguments)
    else:
        torch.multiprocessing.spawn(train, (arguments,), nprocs=arguments.processes)


if __name__ == "__main__":
    main()
