"""Features of torch against NumPy's, chunk by chunk: streams that come, go and end in the middle of a chunk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2 as pb

from common.parameters import ModelConfig
from common.sequences import ServerBusy
from log_mel.front_end import Chunk
from log_mel.mel import LogMel
from log_mel.opening import open_streaming, open_utterances
from log_mel.streaming import StreamingLogMel, WindowGeometry

torch = pytest.importorskip("torch", reason="torch is not installed here: make test-nemo")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed here: make test-nemo")

from log_mel.torch_mel import TorchLogMel  # noqa: E402
from log_mel.torch_streaming import TorchStreamingLogMel  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2] / "model-repo"
CLIPS = sorted((REPOSITORY.parent / "tests" / "data" / "audio").glob("*.flac"))
# Of the natural logarithm of a band's energy. Speech is far closer (the last test); white noise and steps between
# silence and full scale leave bands whose energy is the rounding of FP32.
TOLERANCE = 2e-3
SPEECH_TOLERANCE = 2e-4


def configured(model: str, **parameters: str) -> ModelConfig:
    config = text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), pb.ModelConfig())
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return ModelConfig(json_format.MessageToJson(config, preserving_proto_field_name=True))


CONFIG = configured("preprocessor")
FOLDER = REPOSITORY / "preprocessor" / "1"
MEL = LogMel.configured(CONFIG, FOLDER)
GEOMETRY = WindowGeometry.configured(CONFIG)


def geometry_of(encoder_frames: int) -> WindowGeometry:
    """As NeMo's streaming_cfg has it for chunks of so many encoder frames."""
    chunk = 8 * encoder_frames
    return WindowGeometry(160 * chunk, chunk, chunk - 7, 9, 16, chunk + 9, chunk + 16)


def on_device(geometry: WindowGeometry, slots: int, device: str = "cpu") -> TorchStreamingLogMel:
    return TorchStreamingLogMel(TorchLogMel(MEL, torch.device(device)), geometry, slots)


def assert_same(wanted, got, tolerance=TOLERANCE):
    for one, other in zip(wanted, got, strict=True):
        assert other.length == one.length
        assert other.features.shape == one.features.shape
        assert other.features.dtype == np.float32
        np.testing.assert_allclose(other.features, one.features, atol=tolerance)
        np.testing.assert_array_equal(other.features == 0, one.features == 0)  # padding is padding


@pytest.mark.parametrize("encoder_frames", [1, 2, 7, 14])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("where", ["cpu", "cuda:0"])
def test_streams_in_slots_have_the_windows_of_streams_alone(encoder_frames, seed, where, request):
    if where != "cpu":
        request.getfixturevalue("gpu")
    random = np.random.default_rng(seed)
    geometry = geometry_of(encoder_frames)
    reference, device = StreamingLogMel(MEL, geometry), on_device(geometry, 6, where)
    live: list[tuple] = []
    ended = 0
    for _ in range(25):
        while len(live) < 6 and random.random() < 0.6:
            live.append((reference.new_state(), device.new_state()))
        chosen = [one for one in live if random.random() < 0.7]
        random.shuffle(chosen)
        work = []
        for states in chosen:
            end = random.random() < 0.3
            # Behind a voice activity gate, END brings several chunks.
            most = geometry.chunk_samples * int(random.choice([1, 1, 3])) if end else geometry.chunk_samples
            samples = int(random.integers(0, most + 1)) if end else most
            work.append((states, random.uniform(-1, 1, samples).astype(np.float32) * random.choice([1e-3, 1]), end))
        if not work:
            continue
        wanted, got = (
            front_end.windows([Chunk(states[side], audio, end) for states, audio, end in work])
            for side, front_end in enumerate((reference, device))
        )
        assert_same(wanted, got)
        for states, _, end in work:
            if end:
                ended += 1
                device.release(states[1])
                live = [one for one in live if one is not states]
        assert device.used == len(live)
    assert ended > 5


@pytest.mark.parametrize("samples", [0, 1, 159, 8959, 8960, 8961, 3 * 8960, 3 * 8960 + 7841])
def test_the_edges_of_a_recording(samples):
    audio = np.full(samples, 0.1, np.float32)
    reference, device = StreamingLogMel(MEL, GEOMETRY), on_device(GEOMETRY, slots=1)
    states = reference.new_state(), device.new_state()
    for start in range(0, max(samples, 1), GEOMETRY.chunk_samples):
        piece, end = audio[start : start + GEOMETRY.chunk_samples], start + GEOMETRY.chunk_samples >= samples
        wanted, got = (
            front_end.windows([Chunk(state, piece, end)])
            for front_end, state in zip((reference, device), states, strict=True)
        )
        assert_same(wanted, got)


def test_a_slot_remembers_nothing_of_the_stream_before():
    device = on_device(GEOMETRY, slots=1)
    loud, quiet = np.ones(GEOMETRY.chunk_samples, np.float32), np.zeros(GEOMETRY.chunk_samples, np.float32)
    first = device.new_state()
    fresh = [window.features.copy() for window in device.windows([Chunk(first, quiet, end=False)])]
    device.windows([Chunk(first, loud, end=False)])
    device.release(first)
    second = device.new_state()
    assert second.slot == first.slot
    np.testing.assert_array_equal(device.windows([Chunk(second, quiet, end=False)])[0].features, fresh[0])


def test_more_streams_than_slots_are_refused():
    device = on_device(GEOMETRY, slots=1)
    device.new_state()
    with pytest.raises(ServerBusy, match="1 streams have features on the device"):
        device.new_state()


def test_a_chunk_that_is_no_whole_number_of_hops_is_refused():
    with pytest.raises(ValueError, match=r"chunk_samples is 9000; torch takes 56 \(chunk_frames\) times 160"):
        on_device(replace(GEOMETRY, chunk_samples=9000), slots=1)


@pytest.mark.parametrize("execution", ["torch:cpu", "torch:cuda"])
def test_speech_of_streams_and_of_whole_utterances(execution, request):
    tolerance = SPEECH_TOLERANCE
    if "cuda" in execution:
        request.getfixturevalue("gpu")
        tolerance = TOLERANCE  # cuFFT rounds in its own way
    utterance = open_utterances(configured("preprocessor_batch", execution=execution), FOLDER, kaldi=False)
    plain = open_utterances(configured("preprocessor_batch"), FOLDER, kaldi=False)
    chosen: list[dict[str, str]] = [{}, {"execution": execution}]
    streams = [open_streaming(configured("preprocessor", **how), FOLDER, kaldi=False) for how in chosen]
    assert isinstance(streams[1], TorchStreamingLogMel)
    assert streams[1].used == 0  # the warm-up has given back its slots
    assert CLIPS
    for clip in CLIPS:
        audio, _ = soundfile.read(clip, dtype="float32")
        np.testing.assert_allclose(utterance(audio), plain(audio), atol=tolerance)
        states = [front_end.new_state() for front_end in streams]
        for start in range(0, len(audio), GEOMETRY.chunk_samples):
            piece = audio[start : start + GEOMETRY.chunk_samples]
            end = start + GEOMETRY.chunk_samples >= len(audio)
            wanted, got = (
                front_end.windows([Chunk(state, piece, end)]) for front_end, state in zip(streams, states, strict=True)
            )
            assert_same(wanted, got, tolerance)
        streams[1].release(states[1])
    assert utterance(np.zeros(1, np.float32)).shape == plain(np.zeros(1, np.float32)).shape == (0, MEL.n_mels)


@pytest.mark.parametrize(
    ("execution", "kaldi", "error", "message"),
    [
        ("onnxruntime:cuda", False, ValueError, "features_execution is 'onnxruntime:cuda'; allowed: cpu, torch:cuda"),
        ("torch:cpu", True, ValueError, "features_execution is 'torch:cpu'; kaldi's features .* processor only"),
        ("torch:cuda:99", False, RuntimeError, "execution torch:cuda"),
    ],
)
def test_what_cannot_be_is_refused(execution, kaldi, error, message):
    for opening, model in ((open_streaming, "preprocessor"), (open_utterances, "preprocessor_batch")):
        with pytest.raises(error, match=message):
            opening(configured(model, execution=execution), FOLDER, kaldi=kaldi)
