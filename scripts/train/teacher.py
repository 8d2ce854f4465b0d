"""`PYTHONPATH=backends python -m scripts.train.teacher FOLDER`: what a stronger recogniser hears in the packed speech.

The teacher is a streaming Zipformer transducer in sherpa-onnx's files. The outputs of its encoder are kept beside the
shards, and `distillation.py` lets the trained encoder imitate them. About a hundredth of the audio's time on one core;
every core takes its share.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from log_mel.kaldi import KaldiFrontEnd
from scripts.train.corpus import SAMPLE_RATE, Corpus, Utterance, read_index
from scripts.train.teacher_frames import SUFFIX, WIDTH, Frames, frames_in


class Teacher:
    """A streaming Zipformer encoder, batch 1 (Yao et al., "Zipformer", ICLR 2024; the files of k2-fsa/icefall)."""

    def __init__(self, folder: Path) -> None:
        """Load `encoder-*.onnx` of a folder, the quantised one where there are two.

        Raises:
            FileNotFoundError: there is none.
            ValueError: its outputs are not `WIDTH` wide.
        """
        files = sorted(folder.glob("encoder-*.int8.onnx")) or sorted(folder.glob("encoder-*.onnx"))
        if not files:
            raise FileNotFoundError(f"{folder} has no encoder-*.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # every process would warn of the exporter's shapes
        self._session = onnxruntime.InferenceSession(str(files[0]), options, providers=["CPUExecutionProvider"])
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._window, self._shift = int(metadata["T"]), int(metadata["decode_chunk_len"])
        silence = (
            (self._window + self._shift) * SAMPLE_RATE // 100
        )  # so that no frame of the recording lacks its window
        self._front_end = KaldiFrontEnd(SAMPLE_RATE, 80, self._window, self._shift, silence)
        _, *states = self._session.get_inputs()
        types = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        self._initial = {
            state.name: np.zeros([_size(item) for item in state.shape], types[state.type]) for state in states
        }
        encoded, *updated = self._session.get_outputs()
        if encoded.shape[-1] != WIDTH:
            raise ValueError(f"{files[0]}: outputs are {encoded.shape[-1]} wide, allowed is {WIDTH}")
        self._updated = [output.name.removeprefix("new_") for output in updated]

    def __call__(self, audio: npt.NDArray[np.float32]) -> Frames:
        """Encode a recording, float32 [samples] at 16 kHz, into [frames_in(samples), WIDTH]."""
        features, states = self._front_end.utterance(audio), self._initial
        chunks = []
        for start in range(0, len(features) - self._window + 1, self._shift):
            window = features[None, start : start + self._window]
            encoded, *values = self._session.run(None, {"x": window, **states})
            states = dict(zip(self._updated, values, strict=True))
            chunks.append(encoded[0])
        frames: Frames = np.concatenate(chunks)[: frames_in(len(audio))].astype(np.float16)
        return frames


def _size(dimension: object) -> int:
    return dimension if isinstance(dimension, int) else 1  # a name stands for the batch


@cache
def _loaded(zipformer: Path) -> Teacher:
    return Teacher(zipformer)


@cache
def _positions(packed: Path) -> dict[tuple[str, int], tuple[Corpus, int]]:
    """Where each utterance's audio is: by shard and first sample."""
    corpora = [Corpus(packed, split) for split in sorted({utterance.split for utterance in read_index(packed)})]
    return {(item.shard, item.start): (corpus, at) for corpus in corpora for at, item in enumerate(corpus.utterances)}


def _hear(zipformer: Path, packed: Path, utterance: Utterance) -> Frames:
    """What a process of the pool does; it loads the teacher once."""
    corpus, index = _positions(packed)[utterance.shard, utterance.start]
    return _loaded(zipformer)(corpus.audio(index))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zipformer", type=Path, help="folder with encoder-*.onnx of a streaming Zipformer")
    parser.add_argument("--packed", type=Path, default=Path("work/packed"))
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--processes", type=int, default=cores, help="default: one per core")
    arguments = parser.parse_args()
    if arguments.processes < 1:
        parser.error(f"--processes is {arguments.processes}, allowed is 1 or more")
    Teacher(arguments.zipformer)  # a folder that does not hold one is refused here, once
    began, heard = time.monotonic(), 0.0
    with ProcessPoolExecutor(arguments.processes) as processes:
        for shard, members in groupby(read_index(arguments.packed), key=lambda utterance: utterance.shard):
            path = arguments.packed / f"{shard}{SUFFIX}"
            if path.exists():
                continue
            utterances = list(members)
            hear = partial(_hear, arguments.zipformer, arguments.packed)
            draft = path.with_suffix(".draft")
            with draft.open("wb") as file:
                for frames in processes.map(hear, utterances, chunksize=8):
                    file.write(frames.tobytes())
            draft.replace(path)
            heard += sum(utterance.seconds for utterance in utterances)
            print(f"{shard}: {heard / 3600:.1f} h in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
