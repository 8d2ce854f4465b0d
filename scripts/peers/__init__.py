"""Other streaming recognisers beside ours: the same weights, recordings and processor, in one run."""
