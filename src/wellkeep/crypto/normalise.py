"""Versioned normalisers: one normal form for what people write in many ways, before it becomes a blind-index tag.

Rules: a normaliser's name ("name/1") is part of the index key, so a changed rule is a new version and a new index,
never a silent miss. What has no normal form, or an empty one, raises: a tag of "" would join all such records.
Threat: a search that misses the right patient, or finds another one because two values were conflated.
"""

import calendar
import re
import unicodedata
from collections.abc import Callable

import phonenumbers

from wellkeep.crypto.errors import NotNormalisable

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t"}  # noqa: RUF001
)
"""Letters that Unicode does not decompose into a base letter and an accent."""
_APOSTROPHES = re.compile(r"['`´ʹʻʼʽˈ‘’‛′＇]")  # noqa: RUF001 - all the ways to write O'Brien
_DASHES = re.compile(r"[‐‑‒–—―−]")  # noqa: RUF001 - all the ways to write a hyphen
_NOT_WORD = re.compile(r"[\W_]+")
_DIGIT_SEPARATORS = re.compile(r"[\s\-./()]+")
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})", re.ASCII)
_MAX_MONTH = 12


def text(value: str, *, region: str | None = None) -> str:  # noqa: ARG001 - one signature for all
    """Fold case, compatibility forms and white space; drop invisible characters (NFKC, casefold, NFKC)."""
    if value.isascii() and value.isprintable():
        return " ".join(value.lower().split())  # what follows would change nothing else, at ten times the cost
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
    visible = "".join(char for char in folded if char.isspace() or unicodedata.category(char)[0] != "C")
    return " ".join(visible.split())


def name(value: str, *, region: str | None = None) -> str:
    """As `text`, without accents and apostrophes; other punctuation separates tokens, which keep their order."""
    folded = _APOSTROPHES.sub("", text(_APOSTROPHES.sub("", value), region=region)).translate(_LETTERS)
    if not folded.isascii():
        bare = "".join(char for char in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(char))
        folded = unicodedata.normalize("NFKC", bare)
    return " ".join(_NOT_WORD.sub(" ", folded).split())


def email(value: str, *, region: str | None = None) -> str:
    """As `text`, with one @ between two parts; a final dot of the domain is dropped, a plus part kept."""
    folded = text(value, region=region)
    local, _, domain = folded.rpartition("@")
    domain = domain.rstrip(".")
    if not local or not domain or "@" in local or " " in folded:
        raise NotNormalisable("not an e-mail address")
    return f"{local}@{domain}"


def phone(value: str, *, region: str | None = None) -> str:
    """Return E.164; `region` (ISO 3166, "US") reads numbers without a country code; extensions are dropped."""
    try:
        number = phonenumbers.parse(unicodedata.normalize("NFKC", value), region)
    except phonenumbers.NumberParseException:
        raise NotNormalisable("not a telephone number, or no region to read it in") from None
    if not phonenumbers.is_possible_number(number):
        raise NotNormalisable("not a possible telephone number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def digits(value: str, *, region: str | None = None) -> str:
    """Return ASCII digits without separators: an SSN with or without dashes; letters are refused, not dropped."""
    bare = _DIGIT_SEPARATORS.sub("", _DASHES.sub("-", text(value, region=region)))
    try:
        return "".join(str(unicodedata.decimal(char)) for char in bare)
    except ValueError:
        raise NotNormalisable("not made of digits") from None


def date(value: str, *, region: str | None = None) -> str:
    """Return an ISO date YYYY-MM-DD, from that or YYYYMMDD; the day must exist."""
    match = _DATE.fullmatch(text(value, region=region))
    if match is None:
        raise NotNormalisable("not an ISO date")
    year, month, day = (int(part) for part in match.groups())
    if not 1 <= month <= _MAX_MONTH or year == 0 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise NotNormalisable("not a day of the calendar")
    return f"{year:04}-{month:02}-{day:02}"


def identifier(value: str, *, region: str | None = None) -> str:
    """As `text`, without white space, with one kind of dash; other punctuation counts ("1-23" is not "12-3")."""
    return unicodedata.normalize("NFKC", _DASHES.sub("-", text(value, region=region)).replace(" ", ""))


NORMALISERS: dict[str, Callable[..., str]] = {
    "text/1": text,
    "name/1": name,
    "email/1": email,
    "phone/1": phone,
    "digits/1": digits,
    "date/1": date,
    "identifier/1": identifier,
}


def normalise(normaliser: str, value: str, *, region: str | None = None) -> str:
    """Return the normal form of `value` under a versioned normaliser ("name/1").

    Raises `NotNormalisable` for a value without one, for an empty result, and for a normaliser that does not exist.
    """
    function = NORMALISERS.get(normaliser)
    if function is None:
        raise NotNormalisable("no such normaliser")
    result = function(value, region=region)
    if not result:
        raise NotNormalisable("nothing is left of the value to search for")
    return result
