"""Backend ``onnx_sequence``: an ONNX model whose ``state`` section is kept here, one slot a sequence."""
