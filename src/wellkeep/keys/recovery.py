"""Recovery shares: the local root key in words, split so that some of them rebuild it and fewer say nothing (SLIP-39).

Rules: shares are made of a root key alone, never of an epoch key: what a share could bring back would never be erased.
They are made once, shown once, and kept nowhere. A rebuilt key counts only if it is the one that the database's own
keys were wrapped by, and it never takes the place of a key that is there. The messages of the library quote the words
that were typed, so none is passed on. The threats are one safe that burns, and one holder of a share who is curious.

Source: SLIP-0039, Shamir's Secret-Sharing for Mnemonic Codes; 33 words a share for 32 bytes, with a checksum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wellkeep.base.errors import Misconfigured
from wellkeep.base.secrets import Secret
from wellkeep.db.connection import Connection

_ROOTS = "SELECT DISTINCT root FROM keys.deployment_keys()"
_KEY_SIZE = 32
_MOST = 16
_FORM = re.compile(r"([0-9]{1,2})/([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class Split:
    """How many shares are made, and how many of them rebuild the key."""

    needed: int
    made: int

    @classmethod
    def parse(cls, text: str) -> Split:
        """Return what `2/3` says: two of three. Raises Misconfigured; fewer than two needed would be the key itself."""
        form = _FORM.fullmatch(text)
        if form is None or not 2 <= int(form[1]) <= int(form[2]) <= _MOST:  # noqa: PLR2004 -- as the message says
            raise Misconfigured("Recovery shares are given as needed/made, such as 2/3: from 2 to 16, or none.")
        return cls(int(form[1]), int(form[2]))


def make_shares(key: Secret[bytes], split: Split) -> tuple[Secret[str], ...]:
    """Return the shares of a root key of 32 bytes, each 33 words."""
    from shamir_mnemonic import generate_mnemonics  # noqa: PLC0415 -- its word list takes its time

    made = generate_mnemonics(1, [(split.needed, split.made)], key.reveal())
    return tuple(Secret(words) for words in made[0])


def shares_needed(share: Secret[str]) -> int:
    """Return how many shares rebuild the key that `share` is of. Raises Misconfigured where it is mistyped."""
    from shamir_mnemonic import MnemonicError, Share  # noqa: PLC0415 -- as above

    try:
        found = Share.from_mnemonic(_words(share))
    except MnemonicError:
        raise Misconfigured("This is no share: a word is wrong, missing or in another place. Type it again.") from None
    return int(found.member_threshold)


def rebuild(shares: Sequence[Secret[str]]) -> Secret[bytes]:
    """Return the root key that `shares` are of. Raises Misconfigured where they do not belong together."""
    from shamir_mnemonic import MnemonicError, combine_mnemonics  # noqa: PLC0415 -- as above

    try:
        key = combine_mnemonics([_words(share) for share in shares])
    except MnemonicError:
        key = b""
    if len(key) != _KEY_SIZE:
        raise Misconfigured("These shares rebuild no key: they must be different ones, of the same `wellkeep init`.")
    return Secret(key)


async def require_in_use(connection: Connection, root: str) -> None:
    """Raise Misconfigured unless `root` names the key that this database's own keys are wrapped by."""
    if root not in {record["root"] for record in await connection.fetch(_ROOTS)}:
        raise Misconfigured(
            "These shares are of another deployment's root key, or of one that was rotated since. Nothing was written."
        )


def _words(share: Secret[str]) -> str:
    return " ".join(share.reveal().lower().split())
