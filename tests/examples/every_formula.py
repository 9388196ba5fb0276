"""All formulas by the name of their example."""

from tests.examples import formulas_of_images, formulas_of_sequences
from tests.examples.formulas import FORMULAS

__all__ = ["FORMULAS", "formulas_of_images", "formulas_of_sequences"]
