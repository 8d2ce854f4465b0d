"""Load tests and benchmarks against the real server."""
