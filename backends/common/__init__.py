"""What the three backends share: sequence life, model parameters, the request loop."""
