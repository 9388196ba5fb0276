"""Softmax attention in Triton: what GPUs run in place of the tiles in torch."""
