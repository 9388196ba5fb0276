"""Measures the generated module beside its peers on this machine: correctness first, then times in turns."""
