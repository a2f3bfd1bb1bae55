"""Discovery of peers: the nodes of the configuration, and those of other members that this node has heard of.

Only where peers speak TLS: a certificate is what proves, to both sides, that a member's own node answers at a URL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ledger.accounts import get_member
from ledger.codec import decode, encode, expect_bytes, expect_list
from ledger.errors import GridmeritError
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.signatures import SigningKey
from node.chain.events import PeerId
from node.chain.messages import Contacts
from node.config import NodeConfig, PeerConfig
from node.driver.chain_driver import ChainDriver
from node.peer.active_members import Membership
from node.peer.connections import Links
from node.peer.records import MAX_AHEAD_MS, MAX_CONTACTS, MIN_APART_MS, ContactBook, MemberStatus, PeerRecord, Settled
from node.peer.reputation import PeerBook
from node.system.clock import now_ms
from node.system.files import read_file, replace_file
from node.system.logs import get_logger, log_event
from node.system.tasks import finish

_FILE = "contacts"
_LONGEST_PAUSE_MS = 30_000  # between two tries to reach a peer heard of: any member names a place, and will call itself
_MAX_AT_ONCE = MAX_CONTACTS + 1  # of a peer's records: each may take a signature's check, and all else waits meanwhile
_MAX_FILE_BYTES = 1_000_000


class Neighbours:
    """The peers of a node, as they come and go."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        key: SigningKey,
        network: bytes,
        chains: Mapping[str, ChainDriver],
        members: Mapping[str, Membership],
        book: PeerBook,
        links: Links,
        on_fault: Callable[[ChainDriver, PeerId, GridmeritError], None],
    ) -> None:
        """`chains` and `members` by the chain's name. `on_fault` hears of a peer that passes on what is no record."""
        self.seeds = {peer.key: peer for peer in config.peers if peer.key != key.public_key}
        self._config = config
        self._key = key
        self._network = network
        self._chains = chains
        self._members = members
        self._book = book
        self._links = links
        self._on_fault = on_fault
        self._file: Path = config.data_dir / _FILE
        self._is_saved = True
        self._own: PeerRecord | None = None
        self._contacts = ContactBook(network, key.public_key, self._get_standing)
        self._log = get_logger()

    def start(self, port: int) -> None:
        """Look for all that are known; `port` is the one that this node listens on for peers."""
        for peer in self.seeds.values():
            self._links.connect(peer)
        if self._config.tls is None:
            return
        stored = self._load()
        self._own = self._make_own(stored, port)
        for raw in stored:
            try:
                self._contacts.offer(raw, None, source=self._key.public_key)
            except GridmeritError as error:
                log_event(self._log, logging.WARNING, "contact-unusable", error=error.code, detail=str(error))
        self.look_again()

    def greet(self, peer: PeerId) -> Contacts | None:
        """The greeting of a peer that has been reached: where this node is, and all others that it knows of."""
        raw = [contact.to_bytes() for contact in self._contacts if contact.key != peer]
        own = [] if self._own is None else [self._own.to_bytes()]
        return Contacts(raw=(*own, *raw)) if own or raw else None

    def take(self, chain: ChainDriver, peer: PeerId, records: tuple[bytes, ...]) -> None:
        """Records that a peer passes on."""
        if self._config.tls is None:
            return
        is_due = False
        try:
            for raw in records[:_MAX_AT_ONCE]:
                is_due |= self._contacts.offer(raw, now_ms(), source=peer)
        except GridmeritError as error:
            self._on_fault(chain, peer, error)
        if is_due:
            self._follow(self._contacts.take_due(), but=peer)
        self.on_heard(peer)

    def on_heard(self, peer: PeerId) -> None:
        """A peer has reached this node: it may have moved since it was configured, and says where it is."""
        if peer in self.seeds and (contact := self._contacts.get(peer)) is not None:
            self._links.look_also_at(peer, contact.url)

    def look_again(self) -> None:
        """Take up records that count by now, and tell the others; let go of members that have left or been revoked."""
        if self._config.tls is not None:
            self._follow(self._contacts.settle(), but=None)

    def takes_part(self, chain: str, key: PeerId) -> bool:
        """Return True if a peer may send on a chain; one that is not in the configuration may where it is a member."""
        seed = self.seeds.get(key)
        return self._config.tls is not None if seed is None else seed.hosts(chain)

    def name_of(self, key: PeerId) -> str:
        """A peer's name here: as in the configuration, else as on the chains."""
        seed = self.seeds.get(key)
        return self._find_name(key) if seed is None else seed.name

    async def save(self) -> None:
        """Write down what has been heard since the last time. Where that fails, it is heard again after a restart."""
        if self._is_saved:
            return
        self._is_saved = True
        own = [] if self._own is None else [self._own.to_bytes()]
        data = encode((*own, *(contact.to_bytes() for contact in self._contacts)))
        try:
            await finish(asyncio.to_thread(replace_file, self._file, data))
        except OSError as error:
            log_event(self._log, logging.WARNING, "contacts-not-kept", detail=error.strerror or str(error))

    # --- inside ----------------------------------------------------------------------------------

    def _follow(self, settled: Settled, *, but: PeerId | None) -> None:
        for key in settled.dropped:
            if key not in self.seeds:
                self._links.disconnect(key)
        for contact in settled.added:
            if contact.key not in self.seeds:
                self._book.add(contact.key)
                peer = self._describe(contact)
                log_event(self._log, logging.INFO, "peer-found", peer=peer.name, url=peer.url)
                self._links.connect(peer, longest_pause_ms=_LONGEST_PAUSE_MS)
        if settled.added:
            self._links.tell_all(Contacts(raw=tuple(contact.to_bytes() for contact in settled.added)), but=but)
        if settled.added or settled.dropped:
            self._is_saved = False

    def _load(self) -> list[bytes]:
        """Load the records known when the node was last up; nothing where the file says nothing."""
        if not self._file.exists():
            return []
        try:
            value = decode(read_file(self._file, _MAX_FILE_BYTES), max_bytes=_MAX_FILE_BYTES)
            return [expect_bytes(raw, "contact") for raw in expect_list(value, "contacts", max_items=MAX_CONTACTS + 1)]
        except GridmeritError as error:
            log_event(self._log, logging.WARNING, "contacts-unreadable", error=error.code, detail=str(error))
            return []

    def _make_own(self, stored: list[bytes], port: int) -> PeerRecord | None:
        """This node's record, the stored one where that still says the same; None where no peer could reach it."""
        url = self._config.advertised_url(port)
        if url is None:
            return None
        own, chains, now = self._key.public_key, tuple(self._chains), now_ms()
        earlier = 0
        for raw in stored:
            try:
                contact = PeerRecord.from_bytes(raw)
                contact.check(self._network)
            except GridmeritError:
                continue
            if contact.key == own and contact.sequence <= now + MAX_AHEAD_MS:  # else none takes it: a clock was wrong
                if (contact.url, contact.chains) == (url, chains):
                    return contact
                earlier = contact.sequence
        self._is_saved = False
        sequence = max(now, earlier + MIN_APART_MS)
        made = PeerRecord(key=own, url=url, chains=chains, sequence=sequence).signed(self._key, self._network)
        try:
            return PeerRecord.from_bytes(made.to_bytes())
        except GridmeritError as error:  # no peer would take it, and all would hold it against this node
            log_event(self._log, logging.WARNING, "contact-unusable", error=error.code, detail=str(error))
            return None

    def _get_standing(self, key: PeerId) -> MemberStatus:
        """The best of what a member is on the chains of this node; gone where it has left and is left nowhere."""
        now = now_ms()
        found = {members.get_standing(address_of(key), now) for members in self._members.values()}
        best = max(found)
        return MemberStatus.GONE if best is MemberStatus.UNKNOWN and MemberStatus.GONE in found else best

    def _describe(self, contact: PeerRecord) -> PeerConfig:
        shared = tuple(name for name in contact.chains if name in self._chains)
        name = self._find_name(contact.key)
        return PeerConfig.model_construct(name=name, url=contact.url, key=contact.key, chains=shared)

    def _find_name(self, key: PeerId) -> str:
        address = address_of(key)
        views = (Overlay(host.node.chain.head.state) for host in self._chains.values())
        members = (get_member(view, address) for view in views)
        return next((member.name for member in members if member is not None), key.hex()[:16])
