"""What the program promises, in the language that the matrix says."""

import os
import unittest

from greeting.__main__ import WORDS, greet


class Greeting(unittest.TestCase):
    def test_it_greets_in_the_language_of_the_cell(self) -> None:
        language = os.environ.get("MATRIX_LANGUAGE", "en")  # noqa: TID251 - a program of its own
        expected = os.environ.get("MATRIX_EXPECTED", WORDS[language])  # noqa: TID251 - a program of its own
        self.assertEqual(greet("Ann", language), f"{expected}, Ann!")  # noqa: PT009 - it runs without pytest


if __name__ == "__main__":
    unittest.main()
