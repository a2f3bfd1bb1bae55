"""Messages of other heights than the one being agreed on: some of those ahead are kept, late ones are answered.

The low watermark is the height being agreed on, the high one `HEIGHTS_AHEAD` above it: nothing beyond them is held.
"""

from __future__ import annotations

from dataclasses import replace

from consensus.pbft.effects import Peer
from consensus.pbft.messages import Ballot, Message, Prepare, PrePrepare, height_of, view_of
from consensus.pbft.validators import Committee, check_message
from consensus.quorum import QuorumCertificate, Vote
from ledger.errors import InvalidCertificate

HEIGHTS_AHEAD = 2  # a replica further behind catches up by certificates, not by votes
CERTIFICATES_KEPT = 16
_PEERS_KEPT = 1_024


class FutureMessages:
    """At most one message of each kind per validator and height, for `HEIGHTS_AHEAD` heights."""

    def __init__(self) -> None:
        self._held: dict[int, dict[tuple[type, bytes], tuple[Peer, Message]]] = {}
        self._heard: dict[bytes, int] = {}  # the greatest height of which a validator has spoken

    def add(self, peer: Peer, message: Message, committee: Committee, *, height: int) -> int:
        """Keep a message of a height above `height`; what it proves others to be agreeing on, 0 if nothing.

        The validators may change with every block: what is not valid with today's may be so then, so it is no fault.
        Raises `InvalidKey`, `InvalidSignature` or `WrongChain`.
        """
        if isinstance(message, QuorumCertificate | Vote):
            committee = replace(committee, since_slot=message.statement.since_slot)
        try:
            if isinstance(message, QuorumCertificate):
                check_message(message, committee)
                return height_of(message) + 1
            if self._is_news(message, committee, height):
                check_message(message, committee)
                self._keep(peer, message, height)
        except InvalidCertificate:
            pass
        return 0

    def get_height(self, committee: Committee, me: bytes | None) -> int:
        """The greatest height that at least one honest validator has come to, 0 if none is known."""
        heard = [self._heard.get(validator, 0) for validator in committee.validators if validator != me]
        heard.sort(reverse=True)
        return heard[committee.faulty] if committee.faulty < len(heard) else 0

    def said_by(self, signer: bytes) -> list[Ballot]:
        """The ballots held of a validator."""
        held = [message for heights in self._held.values() for _, message in heights.values()]
        ballots = [message.prepare if isinstance(message, PrePrepare) else message for message in held]
        return [one for one in ballots if not isinstance(one, QuorumCertificate) and one.signer == signer]

    def take(self, height: int) -> list[tuple[Peer, Message]]:
        """Take the messages held for a height that is being started; everything lower is forgotten."""
        taken = list(self._held.get(height, {}).values())
        for low in [known for known in self._held if known <= height]:
            del self._held[low]
        return taken

    def on_validators(self, validators: tuple[bytes, ...]) -> None:
        """Forget signers that are no longer validators."""
        self._heard = {signer: height for signer, height in self._heard.items() if signer in validators}

    def _is_news(self, message: Message, committee: Committee, height: int) -> bool:
        assert not isinstance(message, QuorumCertificate)
        signer, spoken = message.signer, height_of(message)
        if signer not in committee.validators:
            return False
        if spoken > self._heard.get(signer, 0):
            return True
        _, held = self._held.get(spoken, {}).get((type(message), signer), (None, None))
        return spoken <= height + HEIGHTS_AHEAD and (held is None or view_of(held) < view_of(message))

    def _keep(self, peer: Peer, message: Message, height: int) -> None:
        assert not isinstance(message, QuorumCertificate)
        spoken = height_of(message)
        self._heard[message.signer] = max(self._heard.get(message.signer, 0), spoken)
        if spoken <= height + HEIGHTS_AHEAD:
            self._held.setdefault(spoken, {})[type(message), message.signer] = (peer, message)


class DecidedHeights:
    """The newest certificates, and the peers they have been sent to lately."""

    def __init__(self) -> None:
        self._certificates: dict[int, QuorumCertificate] = {}
        self._late: set[tuple[int, type, bytes]] = set()
        self._answered: dict[Peer, int] = {}

    def add(self, certificate: QuorumCertificate) -> None:
        slot = certificate.statement.slot
        self._certificates[slot] = certificate
        if len(self._certificates) > CERTIFICATES_KEPT:
            del self._certificates[min(self._certificates)]
        self._late = {known for known in self._late if known[0] == slot}
        self._answered.clear()

    def answer(
        self, peer: Peer, message: Message, committee: Committee, now_ms: int, *, pause_ms: int
    ) -> QuorumCertificate | None:
        """The certificate that a peer needs which speaks of a decided height, at most one in `pause_ms`.

        The height's own if it is kept, else the newest, which shows how far behind the peer is. A first prepare or
        commit of the newest height is merely late, and not answered.
        """
        newest = max(self._certificates, default=-1)
        height = height_of(message)
        if isinstance(message, QuorumCertificate) or height > newest or message.signer not in committee.validators:
            return None
        if height == newest and isinstance(message, PrePrepare | Prepare | Vote):
            first = (height, type(message), message.signer)
            if first not in self._late:
                self._late.add(first)
                return None
        if now_ms < self._answered.get(peer, 0):
            return None
        if len(self._answered) >= _PEERS_KEPT:
            self._answered.clear()
        self._answered[peer] = now_ms + pause_ms
        return self._certificates.get(height, self._certificates[newest])
