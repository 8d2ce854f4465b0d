"""Backend ``silero_vad``: AUDIO -> SPEECH_PROBABILITY and SEGMENTS, whole recordings."""
