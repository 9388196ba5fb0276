"""Real, importable torch code. The linker copies what a program needs into its generated file."""
