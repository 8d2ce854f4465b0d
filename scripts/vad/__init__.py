"""Silero VAD: its graph into the model repository, its own answers into the tests."""
