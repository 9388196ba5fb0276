"""Which tiles must be visited, exactly how many pairs are visible, and what can be proved of a mask."""
