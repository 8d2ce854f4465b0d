"""Backend ``log_mel``: AUDIO -> FEATURES, the log-mel front end of NeMo, streaming or whole utterance."""
