"""The shipped model as an artifact: checksums, expected outputs, where it comes from. Needs no NeMo."""
