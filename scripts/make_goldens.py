"""Compute the reference outputs of NeMo in tests/goldens: `python -m scripts.make_goldens model.nemo`.

Runs in the NeMo environment (`make goldens NEMO=model.nemo`), with the checkpoint that `model-repo/` was exported
from. The recordings are the bundled clips and, where that folder exists, those of ../shared/speech/eval.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import nemo
import soundfile
import torch
from nemo.collections.asr.models import ASRModel

from scripts.export.description import ModelDescription, StreamingGeometry
from scripts.export.layout import Layout
from scripts.export.reading import load_checkpoint, select_att_context
from scripts.goldens import Float32, Goldens, Origin, Recording, Tensors, audio_checksum

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT / "tests" / "data" / "audio" / "clips.tsv"
SPEECH = ROOT.parent / "shared" / "speech" / "eval" / "eval.tsv"
GOLDENS = ROOT / "tests" / "goldens"


class NemoReference:
    """Runs NeMo's front end, encoder and decoders on one recording at a time."""

    def __init__(self, model: ASRModel, geometry: StreamingGeometry) -> None:
        """Bind a model whose attention context is set to `geometry.att_context`."""
        self._model = model
        self._geometry = geometry

    @torch.no_grad()
    def features(self, audio: Float32) -> torch.Tensor:
        """Return the log-mel features of [samples] as [1, n_mels, frames], the frame beyond the length cut off."""
        features, length = self._model.preprocessor(
            input_signal=torch.from_numpy(audio)[None], length=torch.tensor([len(audio)])
        )
        kept: torch.Tensor = features[:, :, : int(length)]
        return kept

    @torch.no_grad()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Return the offline encoder's output, [1, encoder_dim, encoder frames]."""
        encoded: torch.Tensor = self._model.encoder(audio_signal=features, length=torch.tensor([features.size(2)]))[0]
        return encoded

    def recognise(self, path: str, audio: Float32) -> Recording:
        """Decode [samples] offline and streaming."""
        features = self.features(audio)
        encoded = self.encode(features)
        offline = self._model.decoding.rnnt_decoder_predictions_tensor(
            encoder_output=encoded, encoded_lengths=torch.tensor([encoded.size(2)]), return_hypotheses=True
        )[0]
        tokens = [int(token) for token in offline.y_sequence]
        return Recording(
            path=path,
            audio_sha256=audio_checksum(audio),
            text=self._model.tokenizer.ids_to_text(tokens),
            tokens=tokens,
            token_frames=[int(frame) for frame in offline.timestamp],
            streaming_tokens=self._stream(features),
        )

    def tensors(self, path: str, audio: Float32) -> Tensors:
        """Return the intermediate results for [samples]."""
        features = self.features(audio)
        return Tensors(path, features[0].numpy(), self.encode(features)[0].T.numpy())

    @torch.no_grad()
    def _stream(self, features: torch.Tensor) -> list[int]:
        """Decode with `conformer_stream_step`, as NeMo's cache-aware streaming example calls it.

        That example drops a last chunk of fewer frames than one encoder frame takes. Here it is kept, so that the
        stream ends where the utterance ends.
        """
        geometry = self._geometry
        cache_channel, cache_time, cache_len = self._model.encoder.get_initial_cache_state(batch_size=1)
        hypotheses = None
        for start, end in _chunks(features.size(2), geometry):
            repeated = geometry.pre_encode_cache_frames if start else 0
            window = features[:, :, max(0, start - repeated) : end]
            window = torch.nn.functional.pad(window, (repeated + end - start - window.size(2), 0))
            _, _, cache_channel, cache_time, cache_len, hypotheses = self._model.conformer_stream_step(
                processed_signal=window,
                processed_signal_length=torch.tensor([window.size(2)]),
                cache_last_channel=cache_channel,
                cache_last_time=cache_time,
                cache_last_channel_len=cache_len,
                keep_all_outputs=True,
                previous_hypotheses=hypotheses,
                drop_extra_pre_encoded=geometry.drop_extra_pre_encoded if start else 0,
                return_transcription=True,
            )
        return [int(token) for token in hypotheses[0].y_sequence] if hypotheses else []


def _chunks(frames: int, geometry: StreamingGeometry) -> Iterator[tuple[int, int]]:
    """Yield start and end of NeMo's chunks: a shorter first one, then equal ones, then what is left."""
    start, end = 0, geometry.first_chunk_frames
    while start < frames:
        yield start, min(end, frames)
        start, end = end, end + geometry.chunk_frames


def _recordings(table: Path) -> Iterator[tuple[str, Float32]]:
    """Yield file name and samples of the recordings that a table lists in its column `path`."""
    with table.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE):
            audio, _ = soundfile.read(table.parent / row["path"], dtype="float32")
            yield row["path"], audio


def _recognise_all(reference: NemoReference, table: Path, log: list[str]) -> dict[str, Recording]:
    recordings = {}
    for path, audio in _recordings(table):
        recording = reference.recognise(path, audio)
        agreement = "equal" if recording.streaming_tokens == recording.tokens else "DIFFERENT"
        log.append(f"{path}: {len(recording.tokens)} tokens, streaming {agreement}: {recording.text}")
        print(log[-1])
        recordings[path] = recording
    return recordings


def _checked_checksum(checkpoint: Path, description: ModelDescription) -> str:
    checksum = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    if checksum != description.source.sha256:
        sys.exit(
            f"{checkpoint.name} has the checksum {checksum}; the model repository was exported from "
            f"{description.source.checkpoint}, {description.source.sha256}: export first"
        )
    return checksum


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.make_goldens", description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="the .nemo file that the model repository was exported from")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model-repo", help="the model repository")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="a table of more recordings; skipped when absent")
    parser.add_argument("--out", type=Path, default=GOLDENS, help="folder to write")
    return parser.parse_args()


def main() -> None:
    """Compute the goldens. Exits with 1 when the checkpoint is not the exported one, or streaming differs."""
    arguments = _parse()
    description = ModelDescription.load(Layout(arguments.model_repo).description)
    checksum = _checked_checksum(arguments.checkpoint, description)
    model = load_checkpoint(arguments.checkpoint)
    select_att_context(model, description.streaming.att_context)
    reference = NemoReference(model, description.streaming)

    log = [f"NeMo {nemo.__version__}, torch {torch.__version__}, {arguments.checkpoint.name}"]
    clips = _recognise_all(reference, CLIPS, log)
    speech = {}
    if arguments.speech.is_file():
        speech = _recognise_all(reference, arguments.speech, log)
    else:
        log.append(f"no {arguments.speech.name}: only the bundled clips")
    different = [item.path for item in (*clips.values(), *speech.values()) if item.tokens != item.streaming_tokens]
    log.append(f"{len(clips) + len(speech)} recordings; streaming differs from offline in {len(different)}")
    print(log[-1])

    shortest = min(_recordings(CLIPS), key=lambda item: len(item[1]))
    Goldens(
        origin=Origin(
            checkpoint=arguments.checkpoint.name,
            checkpoint_sha256=checksum,
            att_context=description.streaming.att_context,
            nemo_version=nemo.__version__,
            torch_version=torch.__version__,
        ),
        clips=clips,
        speech=speech,
        tensors=reference.tensors(*shortest),
    ).save(arguments.out)
    (arguments.out / "make_goldens.log").write_text("\n".join(log) + "\n", encoding="utf-8")
    if different:
        sys.exit(f"NeMo's streaming decoding differs from its offline decoding: {', '.join(different)}")


if __name__ == "__main__":
    main()
