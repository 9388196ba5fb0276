"""Decisions: sizes to look at, tile shapes. Everything is chosen by what the analysis measures."""
