"""Questions about many settings at once: sweeps, advice, shares of a whole model."""
