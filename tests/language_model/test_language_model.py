"""What a language model is estimated from, and that KenLM reads what comes out."""

from __future__ import annotations

import itertools
import shutil

import pytest

from scripts.language_model import texts
from scripts.language_model.irstlm import estimate

SENTENCES = [list(words) for words in itertools.product("abc", "abc", "cd", "abd")] * 3 + [["a", "b", "a"]] * 20


@pytest.fixture
def speech(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "wordnet_examples", lambda: ["The cat sat.", "He said we call it bear again and again."])
    for folder in ("train", "tts", "eval"):
        (tmp_path / folder).mkdir()
    (tmp_path / "train" / "train.tsv").write_text("path\ttext\na\tWE CALL IT BEAR AGAIN\nb\tA BLUE KITE\n")
    (tmp_path / "tts" / "index.tsv").write_text(
        "engine\ttext\nkokhold\ta held out voice said this\njoe\twhat joe said\n"
    )
    (tmp_path / "eval" / "eval.tsv").write_text("path\ttext\nx\tWE CALL IT BEAR\ny\tWhat Joe said\n")
    return tmp_path


def test_training_texts_have_no_evaluation_sentence(speech):
    found = texts.training_texts(speech)
    assert {"the cat sat", "a blue kite"} <= set(found)
    for evaluated in ("we call it bear", "what joe said", "a held out voice said this"):
        assert not any(evaluated in text for text in found)
    assert found == texts.training_texts(speech)


def test_further_texts_are_sentences_that_are_not_evaluated(speech, tmp_path):
    fortunes = tmp_path / "fortunes"
    fortunes.mkdir()
    (fortunes / "wisdom").write_text(
        "What Joe said.  Time flies\nlike an arrow.\n%\nCall 555 now, please.\n%\nTwo words.\n"
    )
    (fortunes / "wisdom.dat").write_text("an index is no text")
    assert texts.further_texts(speech, fortunes) == ["time flies like an arrow"]


def test_missing_tables_are_named(speech, capsys):
    shutil.rmtree(speech / "tts")
    assert texts.training_texts(speech)
    assert "tts/index.tsv does not exist" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("irstlm") is None, reason="Debian's package irstlm is not installed")
class TestEstimate:
    def test_kenlm_reads_a_distribution(self, tmp_path):
        kenlm = pytest.importorskip("kenlm", reason="the package kenlm is not installed: requirements/lm.txt")
        estimate(SENTENCES, tmp_path / "lm.arpa", order=3, threshold=0)
        model = kenlm.Model(str(tmp_path / "lm.arpa"))
        assert model.order == 3

        def total(context):
            before, after = kenlm.State(), kenlm.State()
            model.BeginSentenceWrite(before)
            for word in context:
                model.BaseScore(before, word, after)
                before, after = after, before
            return sum(10 ** model.BaseScore(before, word, kenlm.State()) for word in ["a", "b", "c", "d", "</s>"])

        assert total([]) == pytest.approx(1, abs=0.02)
        assert total(["a", "b"]) == pytest.approx(1, abs=0.02)
        assert model.score("a b a") > model.score("d b a")

    def test_pruning_makes_it_smaller(self, tmp_path):
        estimate(SENTENCES, tmp_path / "whole.arpa", order=3, threshold=0)
        estimate(SENTENCES, tmp_path / "pruned.arpa", order=3, threshold=1e-2)
        assert (tmp_path / "pruned.arpa").stat().st_size < (tmp_path / "whole.arpa").stat().st_size

    def test_a_failure_is_told(self, tmp_path):
        with pytest.raises(RuntimeError, match="irstlm tlm failed"):
            estimate(SENTENCES, tmp_path / "lm.arpa", order=1000)


def test_a_missing_program_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="install Debian's package irstlm"):
        estimate(SENTENCES, tmp_path / "lm.arpa")
