"""Where members' nodes can be reached: records that each signs for itself, and that peers pass on to each other.

A record counts once its signer is an active member at the last final height; until then it waits, for whoever passes
it on may be ahead of us. It goes when its signer has left or been revoked. Pure: time and membership are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_list, expect_str
from ledger.errors import BadContact
from ledger.signatures import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, SigningKey, signing_digest, verify

MAX_CONTACTS = 256  # nodes that this one talks to beyond those in its configuration
MAX_URL_BYTES = 256
MIN_APART_MS = 10_000  # between two records of one member: each is passed on by everybody
MAX_AHEAD_MS = 600_000  # of our clock
_MAX_WAITING = 64
_MAX_CHAINS = 16
_MAX_BYTES = 1_024


class Standing(IntEnum):
    """What a record's signer is on the chains of this node."""

    GONE = 0
    UNKNOWN = 1
    MEMBER = 2
    SEALER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
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

    def signed(self, key: SigningKey, network: bytes) -> Contact:
        """This record with its signature; the key is its own."""
        assert key.public_key == self.key
        signature = key.sign(self._digest(network))
        return Contact(key=self.key, url=self.url, chains=self.chains, sequence=self.sequence, signature=signature)

    def check(self, network: bytes) -> None:
        """Raise `InvalidKey` or `InvalidSignature` unless the member with its key has signed it for this network."""
        verify(self.key, self._digest(network), self.signature, what="contact")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Contact:
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
    """What a look at the members has changed: records that count from now on, and keys whose record counts no more."""

    added: tuple[Contact, ...]
    dropped: tuple[bytes, ...]


class ContactBook:
    """The latest record of every member, but of one's own: at most `MAX_CONTACTS`, sealing members before others."""

    def __init__(self, network: bytes, own_key: bytes) -> None:
        self._network = network
        self._own_key = own_key
        self._held: dict[bytes, Contact] = {}
        self._waiting: dict[bytes, Contact] = {}  # the oldest first

    def __iter__(self) -> Iterator[Contact]:
        return iter(tuple(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, raw: bytes, now_ms: int) -> None:
        """Look at a record that somebody passes on, and keep it for `settle` where it is news.

        Raises the `Malformed` family, `InvalidKey` or `InvalidSignature`: whoever passes such a record on is at fault.
        """
        contact = Contact.from_bytes(raw)
        known = self._waiting.get(contact.key) or self._held.get(contact.key)
        if contact.key == self._own_key or contact.sequence > now_ms + MAX_AHEAD_MS:
            return
        if known is not None and contact.sequence < known.sequence + MIN_APART_MS:
            return
        contact.check(self._network)
        self._waiting.pop(contact.key, None)
        self._waiting[contact.key] = contact
        if len(self._waiting) > _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def settle(self, standing_of: Callable[[bytes], Standing]) -> Settled:
        """Let records count whose signers are members by now, and drop those of members that have gone."""
        dropped = [key for key in self._held if standing_of(key) is Standing.GONE]
        for key in dropped:
            del self._held[key]
        added = []
        for key, contact in tuple(self._waiting.items()):
            standing = standing_of(key)
            if standing is Standing.UNKNOWN:
                continue
            del self._waiting[key]
            if standing is Standing.GONE or not self._make_room(key, standing, standing_of, dropped):
                continue
            self._held[key] = contact
            added.append(contact)
        kept = tuple(contact for contact in added if self._held.get(contact.key) is contact)
        return Settled(added=kept, dropped=tuple(dropped))

    def _make_room(
        self, key: bytes, standing: Standing, standing_of: Callable[[bytes], Standing], dropped: list[bytes]
    ) -> bool:
        """Whether there is room for a record; a sealing member's takes that of the latest member that does not seal."""
        if key in self._held or len(self._held) < MAX_CONTACTS:
            return True
        if standing is not Standing.SEALER:
            return False
        other = next((one for one in reversed(self._held) if standing_of(one) is not Standing.SEALER), None)
        if other is None:
            return False
        del self._held[other]
        dropped.append(other)
        return True


def check_url(url: str) -> None:
    """Raise `BadContact` unless this is `https://host[:port]` and nothing else."""
    if len(url.encode()) > MAX_URL_BYTES:
        raise BadContact(detail=f"its URL has more than {MAX_URL_BYTES} bytes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadContact(detail=f"its URL: {error}") from None
    if parts.scheme != "https" or not parts.hostname or port == 0:
        raise BadContact(detail="its URL is not https://host:port")
    is_bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if not is_bare or not url.isascii() or not url.isprintable() or " " in url or url != f"https://{parts.netloc}":
        raise BadContact(detail="its URL has more in it than host and port")
