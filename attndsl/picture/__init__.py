"""Pictures of a mask: its pairs, its tiles, one query's keys; as PNG, SVG, in a terminal, as JSON."""
