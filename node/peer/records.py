"""Records of where members' nodes can be reached: each signed by its member, and passed on between peers.

A record counts once its signer is an active member at the last final height; until then it waits, for a peer that
passes it on may be ahead of us. It goes when its signer has left or been revoked. Pure: time and membership are
arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_list, expect_str
from ledger.signatures import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, SigningKey, signing_digest, verify
from node.errors import BadContact

MAX_CONTACTS = 256  # nodes that this one talks to beyond those in its configuration
MAX_URL_BYTES = 256
MIN_APART_MS = 10_000  # between two records of one member: each is passed on by every node
MAX_AHEAD_MS = 600_000  # of our clock
_MAX_WAITING = 16  # of one peer that passes them on, so that none can crowd out what others say
_MAX_CHAINS = 16
_MAX_BYTES = 1_024
_URL = re.compile(r"https://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_MAX_PORT = 65_535


class MemberStatus(IntEnum):
    """The status of a record's signer on the chains of this node."""

    GONE = 0
    UNKNOWN = 1
    MEMBER = 2
    SEALER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """The node of the member with this key listens for peers at `url`, and takes part in `chains` (names).

    `sequence` is the time in ms at which it was signed: of two records the later one holds.
    """

    key: bytes
    url: str
    chains: tuple[str, ...]
    sequence: int
    signature: bytes = b""

    def to_bytes(self) -> bytes:
        return encode((*self._body(), self.signature))

    def signed(self, key: SigningKey, network: bytes) -> PeerRecord:
        """This record with its signature; the key is its own."""
        assert key.public_key == self.key
        signature = key.sign(self._digest(network))
        return PeerRecord(key=self.key, url=self.url, chains=self.chains, sequence=self.sequence, signature=signature)

    def check(self, network: bytes) -> None:
        """Raise `InvalidKey` or `InvalidSignature` unless the member with its key has signed it for this network."""
        verify(self.key, self._digest(network), self.signature, what="contact")

    @classmethod
    def from_bytes(cls, raw: bytes) -> PeerRecord:
        """Raises the `Malformed` family; nothing is known of its signature before `check`."""
        fields = expect_array(decode(raw, max_bytes=_MAX_BYTES), 5, "contact")
        key, url, chains, sequence, signature = fields
        names = expect_list(chains, "contact's chains", max_items=_MAX_CHAINS)
        contact = cls(
            key=expect_bytes(key, "contact's key", size=PUBLIC_KEY_SIZE),
            url=expect_str(url, "contact's URL", max_size=MAX_URL_BYTES),
            chains=tuple(expect_str(name, "chain", max_size=32) for name in names),
            sequence=expect_int(sequence, "contact's sequence"),
            signature=expect_bytes(signature, "contact's signature", size=SIGNATURE_SIZE),
        )
        check_url(contact.url)
        if not contact.chains or len(set(contact.chains)) < len(contact.chains):
            raise BadContact(detail="want the names of different chains, one at least")
        return contact

    def _body(self) -> tuple[Value, ...]:
        return (self.key, self.url, self.chains, self.sequence)

    def _digest(self, network: bytes) -> bytes:
        return signing_digest("contact", network, encode(self._body()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The change of a review: records that count from now on, and keys whose record counts no more."""

    added: tuple[PeerRecord, ...]
    dropped: tuple[bytes, ...]


class ContactBook:
    """The latest record of every member, but of one's own: at most `MAX_CONTACTS`, sealing members before others."""

    def __init__(self, network: bytes, own_key: bytes, standing_of: Callable[[bytes], MemberStatus]) -> None:
        self._network = network
        self._own_key = own_key
        self._standing_of = standing_of
        self._held: dict[bytes, PeerRecord] = {}
        self._waiting: dict[
            bytes, tuple[PeerRecord, bytes]
        ] = {}  # with the peer that passed it on unless it is due; the oldest first

    def __iter__(self) -> Iterator[PeerRecord]:
        return iter(tuple(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes) -> PeerRecord | None:
        """The record of a member that counts."""
        return self._held.get(key)

    def offer(self, raw: bytes, now_ms: int | None, *, source: bytes) -> bool:
        """Look at a record that a peer passes on, and keep it where it is news; whether it is due to count by now.

        Without `now_ms` it is one that was held before a restart: then the clock may have been set back since.

        Raises the `Malformed` family, `InvalidKey` or `InvalidSignature`: a peer that passes such a record on is at
        fault.
        """
        contact = PeerRecord.from_bytes(raw)
        waiting, _ = self._waiting.get(contact.key, (None, b""))
        known = waiting or self._held.get(contact.key)
        is_ahead = now_ms is not None and contact.sequence > now_ms + MAX_AHEAD_MS
        if contact.key == self._own_key or is_ahead:
            return False
        if known is not None and contact.sequence < known.sequence + MIN_APART_MS:
            return False
        standing = self._standing_of(contact.key)
        if standing is MemberStatus.GONE:
            return False
        contact.check(self._network)
        self._waiting.pop(contact.key, None)
        is_due = standing is not MemberStatus.UNKNOWN
        self._waiting[contact.key] = contact, b"" if is_due else source
        if not is_due:
            self._limit_waiting(source)
        return is_due

    def take_due(self) -> Settled:
        """Let records count that are due."""
        return self._take_up([key for key, (_, source) in self._waiting.items() if not source], [])

    def settle(self) -> Settled:
        """The members may be others by now: drop records of those that have gone, let those count that have come."""
        gone = [key for key in self._held if self._standing_of(key) is MemberStatus.GONE]
        for key in gone:
            del self._held[key]
        return self._take_up(list(self._waiting), gone)

    def _take_up(self, keys: list[bytes], dropped: list[bytes]) -> Settled:
        added = []
        for key in keys:
            standing = self._standing_of(key)
            if standing is MemberStatus.UNKNOWN:
                continue
            contact, _ = self._waiting.pop(key)
            if standing is MemberStatus.GONE or not self._make_room(key, standing, dropped):
                continue
            self._held[key] = contact
            added.append(contact)
        kept = tuple(contact for contact in added if self._held.get(contact.key) is contact)
        return Settled(added=kept, dropped=tuple(dropped))

    def _limit_waiting(self, source: bytes) -> None:
        passed_on = [key for key, (_, other) in self._waiting.items() if other == source]
        if len(passed_on) > _MAX_WAITING:
            del self._waiting[passed_on[0]]

    def _make_room(self, key: bytes, standing: MemberStatus, dropped: list[bytes]) -> bool:
        """Make room for a record; False if there is none. A sealing member's takes the latest non-sealing member's."""
        if key in self._held or len(self._held) < MAX_CONTACTS:
            return True
        if standing is not MemberStatus.SEALER:
            return False
        other = next((one for one in reversed(self._held) if self._standing_of(one) is not MemberStatus.SEALER), None)
        if other is None:
            return False
        del self._held[other]
        dropped.append(other)
        return True


def check_url(url: str) -> None:
    """Raise `BadContact` unless this is `https://host[:port]` and nothing else, whatever a library would make of it.

    All members must take the same: a peer that passes on what another refuses is at fault there.
    """
    if len(url.encode()) > MAX_URL_BYTES:
        raise BadContact(detail=f"its URL has more than {MAX_URL_BYTES} bytes")
    found = _URL.fullmatch(url)
    if found is None or int(found[1] or 1) > _MAX_PORT:
        raise BadContact(detail="its URL is not https://host:port and nothing else")
