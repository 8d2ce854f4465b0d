"""bpe.model of icefall -> our tokenizer.model: its ids are our labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from scripts.export.zipformer.vocabulary import BLANK_ID

_FIELD = descriptor_pb2.FieldDescriptorProto


def read_tokenizer(path: Path, pieces: list[str]) -> bytes | None:
    """Return the SentencePiece model without its blank, so that every other id is one lower, as our labels are.

    Args:
        path: bpe.model; it may be missing.
        pieces: those of tokens.txt by original id.

    Returns:
        the serialised model; None when there is none, or when its pieces are not those of tokens.txt.
    """
    if not path.is_file():
        return None
    model = _model_class()()
    model.ParseFromString(path.read_bytes())
    if [piece.piece for piece in model.pieces] != pieces:
        return None
    del model.pieces[BLANK_ID]
    for piece in model.pieces:
        if piece.piece == "<sos/eos>":
            piece.piece = "<s>"  # what SentencePiece itself calls it, so that its letters are not taken for text
    serialised: bytes = model.SerializeToString()
    return serialised


def _model_class() -> Any:
    """Return a message with SentencePiece's `ModelProto.pieces` as far as it is used; the rest is kept.

    The message class in the sentencepiece package needs a newer protobuf than Triton's client has.
    """
    file = descriptor_pb2.FileDescriptorProto(name="pieces.proto")
    piece, model = file.message_type.add(name="Piece"), file.message_type.add(name="Model")
    piece.field.add(name="piece", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    model.field.add(name="pieces", number=1, type=_FIELD.TYPE_MESSAGE, label=_FIELD.LABEL_REPEATED, type_name=".Piece")
    pool: Any = descriptor_pool.DescriptorPool()  # typed in some versions of its stubs only
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Model"))
