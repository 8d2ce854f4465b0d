"""Backend ``rnnt_decoder``: ENCODED -> TRANSCRIPT, holding one RNN-T hypothesis a sequence."""
