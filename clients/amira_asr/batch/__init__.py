"""Thousands of recordings: read from folders and manifests, written to a manifest that a crash cannot damage."""
