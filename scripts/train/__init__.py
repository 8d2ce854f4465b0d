"""Training recipe: pack the speech (`scripts.train.pack`), then train (`scripts.train`)."""
