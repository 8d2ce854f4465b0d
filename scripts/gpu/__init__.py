"""Measurements on a GPU that need torch and nothing else."""
