"""From expressions to Python source: one printer per array library, and function bodies."""
