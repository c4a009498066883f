"""Names as text for a terminal: what would control it, or turn the text around, is shown as an escape."""

import unicodedata

SPACES = "\t\n\r"


def visible(name: object) -> str:
    r"""Return a name with each character that is not printed as an escape, such as `\x1b`; spaces are one space.

    Escaped are control characters, marks of direction, lone surrogates, and characters that Unicode has not assigned.
    """
    return " ".join("".join(map(_visible_character, str(name))).split())


def _visible_character(character: str) -> str:
    if character.isprintable():
        return character
    if character in SPACES or unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode()
