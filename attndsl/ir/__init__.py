"""The program: index expressions, token sets, types, operators. Imports nothing else of the project."""
