"""A small program to deliver: greets in a few languages."""

import sys

WORDS = {"en": "Hello", "de": "Guten Tag", "fr": "Bonjour"}


def greet(name: str, language: str = "en") -> str:
    """Greet somebody; in English where the language is not known."""
    return f"{WORDS.get(language, WORDS['en'])}, {name}!"


if __name__ == "__main__":
    print(greet(*sys.argv[1:3]))
