"""The grammars of an event's keys: what may stand in the ledger at all.

Rule: each key admits one closed form (uuid, hex, enumeration, address, name, number) and what does not fit is refused
at the door, without being quoted. The threat is PHI or free text in a record that is kept for six years and never
edited. A black list of PHI-like shapes would hit digits inside ids; a white list per key can't.

The checks of tuples and addresses are cached: a deployment has few role lists, field lists and peers, and each is
checked on every access. A refusal is never cached.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from ipaddress import ip_address
from uuid import UUID

from wellkeep.base.errors import Internal
from wellkeep.base.principal import ActorType

MAX_NUMBER = 2**53 - 1
ID_BYTES = 16
DIGEST_BYTES = 32

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAME = r"[a-z][a-z0-9_]{0,62}"
_matches_name = re.compile(_NAME).fullmatch
_matches_operator = re.compile(r"[a-z_][a-z0-9_-]{0,31}").fullmatch
_matches_uuid = re.compile(_UUID).fullmatch
_matches_resource = re.compile(rf"{_UUID}|(?:[0-9]{{4}}_)?{_NAME}(?:\.{_NAME}){{0,3}}|[0-9]{{4}}").fullmatch
_matches_rule = re.compile(r"[a-z][a-z0-9_]{0,62}(?:[:/.-][a-z][a-z0-9_]{0,62}){0,7}").fullmatch
_matches_code = re.compile(r"[a-z][a-z0-9]{0,31}(?:-[a-z0-9]{1,31}){0,7}").fullmatch
_matches_agent = re.compile(r"[0-9a-f]{16}").fullmatch

_ACTOR_GRAMMAR = {
    ActorType.API_KEY: _matches_uuid,
    ActorType.PERSON: _matches_uuid,
    ActorType.OPERATOR: _matches_operator,
    ActorType.SYSTEM: _matches_name,
    ActorType.ANONYMOUS: _matches_name,
}


class EventRefused(Internal):
    """An event that does not fit the grammar: a fault of ours, and the message names the key alone."""

    title = "An event does not fit the ledger's grammar"

    def __init__(self, key: str) -> None:
        """`key` is the name of the event's key, one of ours."""
        super().__init__(f"{self.title}: {key}")
        self.key = key


def refuse(key: str) -> EventRefused:
    """Return the refusal of `key`, without the value."""
    return EventRefused(key)


@lru_cache(maxsize=4096)
def actor_id(actor_type: ActorType, text: str) -> str:
    """Return `text` where an actor of `actor_type` can have it for an id; raises EventRefused."""
    if _ACTOR_GRAMMAR[actor_type](text) is None:
        raise EventRefused("actor.id")
    return text


@lru_cache(maxsize=4096)
def names(key: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return `texts` where each is a name (`[a-z][a-z0-9_]{0,62}`); raises EventRefused."""
    for text in texts:
        if _matches_name(text) is None:
            raise EventRefused(key)
    return texts


@lru_cache(maxsize=4096)
def address(text: str) -> str:
    """Return `text` where it is an IP address in its one canonical spelling, without a zone; raises EventRefused."""
    try:
        canonical = "%" not in text and str(ip_address(text)) == text
    except ValueError:
        canonical = False
    if not canonical:
        raise EventRefused("source.ip")
    return text


@lru_cache(maxsize=4096)
def rule(text: str) -> str:
    """Return `text` where it is the id of a rule (`role:clinician/record:read`); raises EventRefused."""
    if _matches_rule(text) is None:
        raise EventRefused("rule")
    return text


def name(key: str, text: str) -> str:
    """Return `text` where it is a name; raises EventRefused."""
    if _matches_name(text) is None:
        raise EventRefused(key)
    return text


def uuid_text(key: str, text: str) -> str:
    """Return `text` where it is a UUID in lower case with dashes; raises EventRefused."""
    if _matches_uuid(text) is None:
        raise EventRefused(key)
    return text


def resource_id(text: str) -> str:
    """Return `text` where it is a UUID, a dotted name, a migration (`0003_ledger`) or its number, else refuse."""
    if _matches_resource(text) is None:
        raise EventRefused("resource.id")
    return text


def error_code(text: str) -> str:
    """Return `text` where it is the code of an error (`not-found`); raises EventRefused."""
    if _matches_code(text) is None:
        raise EventRefused("error")
    return text


def agent(text: str) -> str:
    """Return `text` where it is 16 hex digits, the head of the hash of a user agent; raises EventRefused."""
    if _matches_agent(text) is None:
        raise EventRefused("source.agent")
    return text


def number(key: str, value: int, least: int = 0) -> int:
    """Return `value` where it is an integer (never a bool) from `least` to 2^53 - 1; raises EventRefused."""
    if type(value) is not int or not least <= value <= MAX_NUMBER:
        raise EventRefused(key)
    return value


def digest(key: str, value: bytes) -> str:
    """Return 32 bytes as 64 hex digits; raises EventRefused."""
    if len(value) != DIGEST_BYTES:
        raise EventRefused(key)
    return value.hex()


def span(value: tuple[int, int, int]) -> dict[str, int]:
    """Return a run of entries (epoch from 1, first seq, the seq after the last) as an object; raises EventRefused."""
    epoch, first, end = value
    found = {"epoch": number("span", epoch, 1), "from": number("span", first), "to": number("span", end)}
    if first > end:
        raise EventRefused("span")
    return found


def pack_ids(key: str, ids: tuple[UUID, ...]) -> list[str]:
    """Return each id as 22 characters of base64url (RFC 4648 section 5, unpadded); raises EventRefused."""
    try:
        return [urlsafe_b64encode(value.bytes)[:22].decode("ascii") for value in ids]
    except AttributeError:
        raise EventRefused(key) from None


def unpack_id(key: str, text: str) -> UUID:
    """Return the id that 22 characters of base64url spell, in their one canonical form; raises EventRefused."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"==")
    except ValueError:
        raise EventRefused(key) from None
    if len(raw) != ID_BYTES or urlsafe_b64encode(raw)[:22] != text.encode("ascii"):
        raise EventRefused(key)
    return UUID(bytes=raw)
