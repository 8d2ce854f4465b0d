"""A language model over the recogniser's tokens, estimated from the training texts."""
