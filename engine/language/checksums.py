"""Numbers that prove themselves: checksums by which a card or an account is told from any other row of digits."""

from collections.abc import Callable, Mapping
from typing import Final

Check = Callable[[str], bool]


def luhn(text: str) -> bool:
    """ISO/IEC 7812-1: payment cards, IMEI, Canadian SIN. Signs between the digits do not count."""
    digits = _digits(text)
    doubled = [sum(divmod(digit * 2, 10)) for digit in digits[-2::-2]]
    return len(digits) > 1 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


_IBAN_LENGTHS: Final[Mapping[str, int]] = {
    country: length
    for length, countries in (
        *(
            (15, "NO"),
            (16, "BE"),
            (18, "DK FI NL"),
            (19, "SI"),
            (20, "AT EE LT LU"),
            (21, "CH HR LI LV"),
            (22, "BG DE GB IE"),
        ),
        *((23, "AE IL"), (24, "AD CZ ES RO SA SE SK"), (25, "PT"), (26, "IS TR"), (27, "FR GR IT MC SM")),
        *((28, "CY HU PL"), (29, "UA"), (31, "MT")),
    )
    for country in countries.split()
}


def iban(text: str) -> bool:
    """ISO 13616: an account's number, of the length that its country has."""
    compact = "".join(text.split()).upper()
    known = _IBAN_LENGTHS.get(compact[:2])
    if not compact.isalnum() or not compact.isascii() or (known is not None and len(compact) != known):
        return False
    return int("".join(str(int(each, 36)) for each in compact[4:] + compact[:4])) % 97 == 1


def bsn(text: str) -> bool:
    """The Dutch citizen service number: the test of eleven."""
    digits = _digits(text)
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    total = sum(weight * digit for weight, digit in zip(weights, digits, strict=False))
    return len(digits) == 9 and any(digits) and total % 11 == 0


def dni(text: str) -> bool:
    """The Spanish DNI and NIE: a letter made of the number."""
    compact = "".join(each for each in text.upper() if each.isalnum())
    number = compact[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdecimal() and compact[-1:] == "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23]


def steuer_id(text: str) -> bool:
    """The German tax number: eleven digits, ISO 7064 mod 11,10; one digit of the first ten stands twice or three times."""
    digits = _digits(text)
    if len(digits) != 11 or digits[0] == 0 or not 8 <= len(set(digits[:10])) <= 9:
        return False
    product = 10
    for digit in digits[:10]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == digits[10]


def _digits(text: str) -> list[int]:
    return [int(each) for each in text if each in "0123456789"]


CHECKS: Final[Mapping[str, Check]] = {"luhn": luhn, "iban": iban, "bsn": bsn, "dni": dni, "steuer_id": steuer_id}
"""By the names that a pattern's `check` takes."""
