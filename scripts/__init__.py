"""Commands of the repository: serve, export, train, evaluate, benchmark."""
