"""Phrases come out as the labels of the imported model."""

from __future__ import annotations

import pytest
import sentencepiece

from rnnt_decoder.tokenizer import Tokenizer
from scripts.export.layout import Layout
from scripts.export.serving_options import ServingOptions
from scripts.export.zipformer.importer import import_zipformer
from scripts.export.zipformer.tokenizer import read_tokenizer
from tests.zipformer.synthetic import write_model


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """A BPE model made as icefall makes it, and its pieces."""
    folder = tmp_path_factory.mktemp("bpe")
    (folder / "text").write_text("THE SUN IS UP\nTHE MOON IS DOWN\nTHERE THEY ARE\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "bpe"),
        vocab_size=40,
        model_type="bpe",
        user_defined_symbols=["<blk>", "<sos/eos>"],
        unk_id=2,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    path = folder / "bpe.model"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return path, [processor.id_to_piece(index) for index in range(processor.vocab_size())]


def test_ids_are_labels(bpe, tmp_path):
    path, pieces = bpe
    serialised = read_tokenizer(path, pieces)
    assert serialised is not None
    (tmp_path / "tokenizer.model").write_bytes(serialised)
    tokenizer = Tokenizer(tmp_path / "tokenizer.model")
    (labels,) = tokenizer.encode(["the moon is up"])
    assert "".join(pieces[label + 1] for label in labels) == "▁THE▁MOON▁IS▁UP"
    with pytest.raises(ValueError, match="cannot be written"):
        tokenizer.encode(["7"])


def test_a_model_with_other_pieces_is_not_used(bpe, tmp_path):
    path, pieces = bpe
    assert read_tokenizer(path, pieces[::-1]) is None
    assert read_tokenizer(tmp_path / "bpe.model", pieces) is None


def test_without_one_the_decoder_has_none(bpe, tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "bpe.model").write_bytes(bpe[0].read_bytes())
    layout = Layout(tmp_path / "repository")
    assert not import_zipformer(folder, layout, ServingOptions()).has_tokenizer
    assert '"tokenizer"' not in (layout.root / "decoder" / "config.pbtxt").read_text()
