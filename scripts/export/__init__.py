"""NeMo cache-aware streaming transducer (.nemo) -> everything in `model-repo/`."""
