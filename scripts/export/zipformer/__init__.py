"""Streaming Zipformer of icefall, as sherpa-onnx ships it, -> a model repository of the same shape as ours."""
