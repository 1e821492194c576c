"""What a decoder makes of one line: a row to be stored, or the place and code of what is wrong with it.

Rule: a `LineError` holds a line number, a path of declared names and a code, never a value of the line; it is what the
error file shows.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import msgspec

Value = str | int | float | bool | msgspec.Raw | None


class Row(NamedTuple):
    """One line, decoded.

    `payload` is what its digest covers, `reference` the external id of its patient, `place` where that stands.
    `checked` is the one value that is `payload` itself and was read strictly by the decoder.
    """

    line: int
    end: int
    external_id: str
    reference: str | None
    subject: UUID | None
    fields: dict[str, Value]
    payload: bytes
    place: str
    checked: msgspec.Raw | None = None


class LineError(NamedTuple):
    """One line that was not taken: where, and one of a closed vocabulary of codes."""

    line: int
    end: int
    path: str
    code: str


Decoded = Row | LineError
