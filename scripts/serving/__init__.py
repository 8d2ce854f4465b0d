"""Starting Triton: find it, lay out its backend directory, stage the model repository, run the process."""
