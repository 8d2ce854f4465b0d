"""Estimate a small language model over the tokens of the default recogniser: `python -m scripts.language_model`.

And bigrams of the training text alone, which the decoder subtracts: the transducer knows them already. Serve with both:

    AMIRA_LANGUAGE_MODEL=work/language_model.arpa AMIRA_SOURCE_LANGUAGE_MODEL=work/source_language_model.arpa make serve
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sentencepiece

from scripts.language_model.irstlm import ORDER, PRUNE_THRESHOLD, estimate
from scripts.language_model.texts import further_texts, training_texts
from scripts.text_normalization import normalize

ROOT = Path(__file__).resolve().parents[2]
_SOURCE_ORDER = 2


def main() -> int:
    """Collect texts, cut them into tokens, estimate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=ROOT.parent / "shared" / "speech")
    parser.add_argument("--text", type=Path, help="sentences of your own, one a line, beside the training texts")
    parser.add_argument("--tokenizer", type=Path, default=ROOT / "model-repo" / "decoder" / "1" / "tokenizer.model")
    parser.add_argument("--order", type=int, default=ORDER)
    parser.add_argument("--prune", type=float, default=PRUNE_THRESHOLD, help="0 keeps all n-grams")
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "language_model.arpa")
    arguments = parser.parse_args()
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(arguments.tokenizer))
    try:
        known = training_texts(arguments.speech)
        if arguments.text:
            further = [normalize(line) for line in arguments.text.read_text(encoding="utf-8").splitlines()]
        else:
            further = further_texts(arguments.speech)
        sentences = _tokens(tokenizer, known + further)
        estimate(sentences, arguments.out, order=arguments.order, threshold=arguments.prune)
        source = arguments.out.with_name(f"source_{arguments.out.name}")
        estimate(_tokens(tokenizer, known), source, order=_SOURCE_ORDER, threshold=0)
    except (FileNotFoundError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    tokens, megabytes = sum(map(len, sentences)), arguments.out.stat().st_size / 1e6
    print(f"{arguments.out}: {arguments.order}-grams, {megabytes:.1f} MB")
    print(f"estimated from {tokens:,} tokens in {len(sentences):,} sentences")
    return 0


def _tokens(tokenizer: sentencepiece.SentencePieceProcessor, texts: list[str]) -> list[list[str]]:
    encoded = [ids for ids in tokenizer.encode(texts) if ids and tokenizer.unk_id() not in ids]
    return [tokenizer.id_to_piece(ids) for ids in encoded]


if __name__ == "__main__":
    sys.exit(main())
