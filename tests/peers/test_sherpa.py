"""Our graphs in sherpa-onnx's files: the same numbers, and the same text through its library and its server."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from log_mel.mel import Float32
from scripts.goldens import Goldens
from tests.conftest import ROOT

pytest.importorskip("onnx", reason="requirements/import.txt is not installed")
from scripts.peers.sherpa_files import SherpaFiles, write_sherpa_files

REPOSITORY = ROOT / "model-repo"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SherpaFiles:
    return write_sherpa_files(REPOSITORY, tmp_path_factory.mktemp("sherpa"))


def opened(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_encoder_is_the_same_over_two_windows(files):
    ours, theirs = opened(REPOSITORY / "encoder" / "1" / "model.onnx"), opened(files.encoder)
    random = np.random.default_rng(1)
    features = random.standard_normal((2, 1, 80, files.window_frames)).astype(np.float32)
    caches = [np.zeros([1, *item.shape[1:]], np.float32) for item in ours.get_inputs() if item.name != "FEATURES"]
    channel, _, time = (caches[index] for index in (1, 2, 3))
    length = np.zeros(1, np.int64)
    their_channel, their_time, their_length = channel, time, length
    names = [item.name for item in theirs.get_inputs()]
    for window in features:
        expected = dict(
            zip(
                [item.name for item in ours.get_outputs()],
                ours.run(
                    None,
                    {
                        "FEATURES": window,
                        "FEATURES_LENGTH": np.full((1, 1), files.window_frames, np.int64),
                        "cache_channel": channel,
                        "cache_time": time,
                        "cache_len": length[:, None],
                    },
                ),
                strict=True,
            )
        )
        frames = np.full(1, files.window_frames, np.int64)
        values = [window, frames, their_channel, their_time, their_length]
        encoded, _, their_channel, their_time, their_length = theirs.run(None, dict(zip(names, values, strict=True)))
        assert np.array_equal(encoded.transpose(0, 2, 1), expected["ENCODED"])
        channel, time = expected["cache_channel_next"], expected["cache_time_next"]
        length = expected["cache_len_next"][:, 0]
        assert np.array_equal(their_channel, channel)
        assert np.array_equal(their_length, length)


def test_decoder_and_joiner_choose_the_label_of_decoder_joint(files):
    joint = opened(REPOSITORY / "decoder_joint" / "1" / "model.onnx")
    decoder, joiner = opened(files.decoder), opened(files.joiner)
    random = np.random.default_rng(2)
    for label in (5, 128):
        frame = random.standard_normal((1, 1, 144)).astype(np.float32)
        state = random.standard_normal((2, 1, 1, 192)).astype(np.float32)
        expected = joint.run(
            ["LABEL", "STATE_H_NEXT"],
            {"ENCODED": frame, "TARGET": np.full((1, 1), label, np.int32), "STATE_H": state[0], "STATE_C": state[1]},
        )
        values = [np.full((1, 1), label, np.int32), np.ones(1, np.int32), *state]
        prediction, _, hidden, _ = decoder.run(
            None, dict(zip([i.name for i in decoder.get_inputs()], values, strict=True))
        )
        logits = joiner.run(None, {"encoded": frame.transpose(0, 2, 1), "prediction": prediction})[0]
        assert logits.shape == (1, 1, 1, 129)
        assert logits.argmax() == expected[0][0, 0]
        assert np.allclose(hidden, expected[1], atol=1e-6)


def test_windows_are_counted_as_sherpa_onnx_does(files):
    assert files.lead_samples + files.chunk_samples >= (files.window_frames + 1) * 160
    for chunks in range(1, 40):
        assert files.windows(files.lead_samples + chunks * files.chunk_samples) == chunks


def test_its_server_and_its_library_say_what_ours_says(files, clips, tmp_path):
    pytest.importorskip("sherpa_onnx", reason="requirements/baselines.txt is not installed")
    from scripts.peers.sherpa_server import PROGRAM, SherpaServer  # noqa: PLC0415

    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM.name} is not installed (sherpa-onnx-bin)")
    spoken = [_whole_chunks(clip.audio, files.chunk_samples) for clip in clips]
    with SherpaServer("sherpa-onnx", files, tmp_path) as server:
        streamed = server.full_speed(spoken)
        whole = server.whole(spoken)
    assert streamed.texts == whole.texts
    assert len(streamed.latencies_ms) == sum(len(audio) // files.chunk_samples for audio in spoken)
    assert streamed.cpu_secs > 0
    goldens = {
        path.rpartition("/")[2].partition(".")[0]: clip
        for path, clip in Goldens.load(ROOT / "tests/goldens").clips.items()
    }
    # Its features differ in the fifth digit, and the last frames are not decoded.
    agreement = [
        len(set(text.split()) & set(goldens[clip.name].text.split())) / len(set(goldens[clip.name].text.split()))
        for text, clip in zip(streamed.texts, clips, strict=True)
    ]
    assert np.mean(agreement) > 0.8


def _whole_chunks(audio: Float32, size: int) -> Float32:
    return np.pad(audio, (0, -len(audio) % size)).astype(np.float32)
