"""Folds what is known about a program into the kernels that it links: small passes over LibCST trees."""
