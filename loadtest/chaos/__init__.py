"""Faults made on purpose, on real processes and real connections, and what they do to the streams of callers."""
