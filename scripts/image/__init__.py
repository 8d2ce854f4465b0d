"""The image without an engine: what the Dockerfile says, done in a folder and tried out."""
