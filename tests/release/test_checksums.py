"""The committed model files are the released ones: no NeMo, no server."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from scripts.release.__main__ import CLIPS, MODEL_REPO, adopt, check
from scripts.release.checksums import CHECKPOINT, Checksums, weights
from scripts.release.expected import EXPECTED_OUTPUTS, compute, save_labels


@pytest.fixture
def copy(tmp_path):
    """A repository as an export leaves it: without what `record` writes."""
    built = tmp_path / "built"
    shutil.copytree(MODEL_REPO, built, ignore=shutil.ignore_patterns("*.md", "CHECKSUMS", EXPECTED_OUTPUTS))
    return built


@pytest.fixture
def released(tmp_path):
    """A released repository that a test may break, with its checkpoint beside it."""
    repository = tmp_path / "model-repo"
    shutil.copytree(MODEL_REPO, repository)
    checkpoint = repository / CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    shutil.copyfile(MODEL_REPO / CHECKPOINT, checkpoint)
    # Its own, so that committed ones out of date fail one test, not all.
    save_labels(repository / EXPECTED_OUTPUTS, compute(repository, CLIPS).labels)
    Checksums.of(repository).save(repository / "CHECKSUMS")
    return repository


def _damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_committed_files_and_their_outputs_are_the_released_ones():
    assert check() == [], "after an export of new weights run `python -m scripts.release record`, or `make release`"


def test_sha256sum_reads_the_file():
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "CHECKSUMS"], cwd=MODEL_REPO, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_every_graph_is_listed():
    listed = Checksums.load(MODEL_REPO / "CHECKSUMS").files
    assert {path.relative_to(MODEL_REPO).as_posix() for path in MODEL_REPO.rglob("*.onnx")} <= listed.keys()
    assert {CHECKPOINT, EXPECTED_OUTPUTS} <= listed.keys()


@pytest.mark.parametrize("name", ["encoder/1/model.onnx", "decoder/1/vocabulary.txt", CHECKPOINT, EXPECTED_OUTPUTS])
def test_a_flipped_bit_is_noticed(released, name):
    checksums = Checksums.load(released / "CHECKSUMS")
    assert checksums.differences(Checksums.of(released)) == []
    _damage(released / name)
    (difference,) = checksums.differences(Checksums.of(released))
    assert difference.startswith(f"{name} has the checksum")


def test_missing_and_unlisted_files_are_noticed(released):
    checksums = Checksums.load(released / "CHECKSUMS")
    (released / "decoder" / "1" / "vocabulary.txt").unlink()
    shutil.copyfile(released / "encoder" / "1" / "model.onnx", released / "encoder" / "1" / "other.onnx")
    assert checksums.differences(Checksums.of(released)) == [
        "decoder/1/vocabulary.txt is missing",
        "encoder/1/other.onnx has no checksum",
    ]


def test_a_line_that_is_no_checksum_is_named(tmp_path):
    path = tmp_path / "CHECKSUMS"
    path.write_text(f"{'0' * 64}  good\nnonsense\n")
    with pytest.raises(ValueError, match="CHECKSUMS:2: 'nonsense'"):
        Checksums.load(path)


def test_an_equal_export_replaces_the_repository(released, copy, capsys):
    (released / "encoder" / "config.pbtxt").write_text("edited")
    assert adopt(copy, released) == []
    assert (released / "encoder" / "config.pbtxt").read_text() == (copy / "encoder" / "config.pbtxt").read_text()
    assert "replaced, with other content: encoder/config.pbtxt" in capsys.readouterr().out
    assert weights(released) == weights(MODEL_REPO)


def test_an_export_with_other_weights_is_told_and_left_alone(released, copy):
    graph = copy / "decoder_joint" / "1" / "model.onnx"
    content = bytearray(graph.read_bytes())
    middle = len(content) // 2  # of the largest matrix
    content[middle : middle + 80_000] = bytes(80_000)
    graph.write_bytes(content)
    before = Checksums.of(released)
    differences = adopt(copy, released)
    assert differences[0].startswith("decoder_joint/1/model.onnx has the checksum")
    assert any(", streaming: " in sentence and "tokens, expected" in sentence for sentence in differences)
    assert any(", batch: " in sentence and "tokens, expected" in sentence for sentence in differences)
    assert Checksums.of(released) == before


def test_an_export_of_another_checkpoint_is_told(released, copy):
    description = copy / "description.json"
    checksum = Checksums.load(released / "CHECKSUMS").files[CHECKPOINT]
    description.write_text(description.read_text().replace(checksum, "0" * 64))
    (difference,) = adopt(copy, released)
    assert difference.startswith("built was exported from the checkpoint 000000000000…")
