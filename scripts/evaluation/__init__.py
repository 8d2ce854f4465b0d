"""How good the recogniser is: word error rates, baselines, and what it makes of sounds without speech."""
