"""Answers of any chain instance: read-only, from its head's state and its own store. No I/O beyond that.

The answers' shapes are in `answers.py`; what `node/api/server.py` serves is these, encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from consensus.contracts import compute_quorum
from consensus.poca.credit_target import compute_shares
from ledger.accounts import TRADERS, get_account, get_sealers
from ledger.block import Block, Header
from ledger.chain import Chain
from ledger.codec import Value
from ledger.hashing import ADDRESS_SIZE, HASH_SIZE, address_of, show_address
from ledger.membership import PENDING, UNLIMITED_MS, Listing, get_credential
from ledger.overlay import Event, Overlay
from ledger.params import MarketParams
from ledger.snapshot import SealerSnapshot, get_snapshot
from ledger.state import State
from market.credit.score import PPM
from market.orders import Side
from market.trading import views
from market.trading.gates import LAPSED, NO_CERTIFICATE, SETTLED, VOID, Gate, get_gate
from market.trading.matching_weight import WeightedOrder
from market.trading.sessions import SESSIONS, get_gate_number, get_period, get_session, is_firm, list_gates
from market.trading.settlement_record import SettledTrade, SettledWithGrid
from market.trading.targets import Commitment
from market.trading.times import PeriodTimes, compute_gate_times
from market.trading.trades import Match, Party, TradeRecord
from market.waterfall import Payments
from node.chain.node import ChainNode
from node.errors import (
    BadRequest,
    BlockPruned,
    NoCertificate,
    NoSession,
    NoSettlement,
    NotFound,
    NoTrades,
    TransactionNotKept,
    UnknownBlock,
    UnknownTransaction,
)
from node.queries.answers import (
    AccountInfo,
    AnchorStatus,
    BlockDetail,
    BlockSummary,
    BlockTransaction,
    BookInfo,
    CertificateInfo,
    ChainStatus,
    ContributionsInfo,
    CreditInfo,
    EndingInfo,
    FailedPeriod,
    Forks,
    GateInfo,
    GridSettlementInfo,
    MarketPeriods,
    MemberInfo,
    OrderInfo,
    PartyInfo,
    PeriodInfo,
    RawBlock,
    RawCertificate,
    SettledTradeInfo,
    SettlementInfo,
    SignatureInfo,
    StoredRows,
    TargetInfo,
    TradeInfo,
    TradesInfo,
    TransactionStatus,
    UpgradeStatus,
    WeightsInfo,
)
from node.queries.credit import CreditQueries
from node.queries.economy import EconomyQueries
from node.queries.exact import show_exact
from node.queries.grid import GridQueries, describe_curtailment
from node.queries.member_names import MemberNames
from node.queries.period_failures import describe_failure
from node.queries.positions import REAL_TIME, PositionQueries
from node.queries.results import ResultQueries
from node.queries.treasury import TreasuryQueries

MAX_PERIODS = 256  # open by the clock; more only under absurd parameters
_LOOK_BACK_PERIODS = 8  # for such as failed


class ChainQueries:
    """The questions that one chain instance answers. Raises the `NotFound` family and `BadRequest`."""

    def __init__(self, node: ChainNode) -> None:
        self.node = self._node = node
        self._chain = node.chain
        self.members = MemberNames(node.genesis, lambda: self._chain.head.state)
        self.grid = GridQueries(node, self.members)
        self.index = CreditQueries(node, self.members)
        self.results = ResultQueries(node, self.members)
        self.positions = PositionQueries(node, self.members)
        self.treasury = TreasuryQueries(node, self.members)
        self.economy = EconomyQueries(node, self.members)

    # --- the chain -----------------------------------------------------------------------------------

    def get_status(self, now_ms: int) -> ChainStatus:
        node, chain, head = self._node, self._chain, self._chain.head
        return ChainStatus(
            chain=node.params.name,
            chain_id=node.chain_id.hex(),
            kind=node.params.kind,
            height=head.height,
            head=head.hash.hex(),
            state_root=head.header.state_root.hex(),
            work=head.work,
            final_height=chain.final_height,
            final_hash=chain.final_hash.hex(),
            period=head.header.period,
            head_time_ms=head.header.timestamp_ms,
            time_ms=now_ms,
            period_ms=node.params.ledger.period_ms,
            block_interval_ms=node.params.consensus.block_interval_ms,
            genesis_time_ms=node.genesis.time_ms,
            peers=len(node.peers),
            mempool_count=len(node.mempool),
            mempool_bytes=node.mempool.size_bytes,
            syncing=node.is_catching_up,
            sync_target=node.sync_target,
            forks=Forks(**asdict(chain.counters)),
            blocks_refused=node.blocks_refused,
            results_differing=node.results.differing,
            results_elsewhere=node.results.elsewhere,
            dissenters=tuple(self._name_of_key(key) for key in node.results.dissenters()),
            not_executed=node.acknowledgements.told,
            waiting_for=tuple(self._name_of_key(key) for key in node.waiting_for()),
            rests_until_ms=node.rests_until(now_ms),
            signing=node.signing_state,
            silent_until=node.silent_until,
            refusal="" if node.refusal is None else str(node.refusal),
            anchor=self._get_anchor(),
            rules=node.rules.get_schedule(head.state).at(head.height),
            upgrade=self._get_upgrade(),
            bodies_from_height=chain.bodies_from,
            stored=tuple(StoredRows(kind=kind, size_bytes=size) for kind, size in node.pruner.measure().items()),
            failed_periods=self._list_failed_periods() if node.params.kind == "trading" else (),
            low_accounts=self.treasury.list_low() if self.treasury.is_there else None,
        )

    def _get_upgrade(self) -> UpgradeStatus | None:
        node, head = self._node, self._chain.head
        schedule = node.rules.get_schedule(head.state)
        coming = schedule.coming_after(head.height)
        if not coming:
            return None
        is_known = coming <= node.rules.newest
        return UpgradeStatus(rules=coming, height=schedule.height, known=is_known, halted=node.is_halted)

    def _get_anchor(self) -> AnchorStatus | None:
        trusted_branch = self._node.trusted_branch
        if trusted_branch.anchor is None:
            return None
        height, block_hash = trusted_branch.anchor
        reached = not trusted_branch.is_awaited
        return AnchorStatus(height=height, hash=block_hash.hex(), reached=reached, refused=trusted_branch.refused)

    def _name_of_key(self, key: bytes) -> str:
        address = address_of(key)
        return self.members.name_of(address) or show_address(address)

    def get_block(self, ref: str) -> BlockDetail:
        """A block by height, hash (on any recent branch) or "head"."""
        block = self._find_block(ref)
        header = block.header
        codes = self._get_codes(block.hash) or ("",) * len(block.transactions)
        depth = self._depth_of(header)
        return BlockDetail(
            height=header.height,
            hash=block.hash.hex(),
            parent=header.parent.hex(),
            timestamp_ms=header.timestamp_ms,
            producer=show_address(header.producer_address),
            producer_name=self.members.name_of(header.producer_address),
            producer_key=header.producer.hex(),
            credit_upt=header.credit_upt,
            n_diff=header.n_diff,
            period=header.period,
            tx_root=header.tx_root.hex(),
            receipt_root=header.receipt_root.hex(),
            state_root=header.state_root.hex(),
            nonce=header.nonce,
            signature=header.signature.hex(),
            depth=depth,
            final=depth > 0 and header.height <= self._chain.final_height,
            transactions=tuple(
                BlockTransaction(
                    id=transaction.id.hex(),
                    kind=transaction.kind,
                    sender=show_address(transaction.sender),
                    sender_name=self.members.name_of(transaction.sender),
                    sequence=transaction.sequence,
                    expiry_height=transaction.expiry_height,
                    payload=tuple(show_text(item) for item in transaction.payload),
                    code=code,
                )
                for transaction, code in zip(block.transactions, codes, strict=True)
            ),
        )

    def get_summary(self, height: int) -> BlockSummary | None:
        """The canonical block at a height in one line, None above the head."""
        block_hash = self._chain.hash_at(height)
        header = None if block_hash is None else self._chain.get_header(block_hash)
        if block_hash is None or header is None:
            return None
        return BlockSummary(
            height=height,
            hash=block_hash.hex(),
            producer=show_address(header.producer_address),
            producer_name=self.members.name_of(header.producer_address),
            timestamp_ms=header.timestamp_ms,
            tx_count=None if self._chain.is_pruned(height) else len(self._get_codes(block_hash)),
            credit_upt=header.credit_upt,
            n_diff=header.n_diff,
            period=header.period,
        )

    def get_transaction(self, ref: str) -> TransactionStatus:
        identity = parse_hash(ref, "transaction id")
        place = self._chain.find_transaction(identity)
        header = None if place is None else self._chain.get_header(place[0])
        if place is None or header is None:
            if identity in self._node.mempool:
                return TransactionStatus(id=identity.hex(), status="pending")
            return TransactionStatus(id=identity.hex(), status="not-executed", ending=self._get_ending(identity))
        block_hash, index = place
        return TransactionStatus(
            id=identity.hex(),
            status="included",
            height=header.height,
            block=block_hash.hex(),
            index=index,
            code=self._get_codes(block_hash)[index],
            depth=self._depth_of(header),
            final=header.height <= self._chain.final_height,
        )

    def _get_ending(self, identity: bytes) -> EndingInfo:
        ending = self._node.acknowledgements.get_ending(identity)
        if ending is None:
            raise refuse_unknown(self._chain, identity)
        place = None if ending.by is None else self._chain.find_transaction(ending.by)
        header = None if place is None else self._chain.get_header(place[0])
        return EndingInfo(
            code=ending.code,
            since_height=ending.height,
            by=None if ending.by is None else ending.by.hex(),
            height=None if header is None else header.height,
            block=None if header is None else header.hash.hex(),
        )

    def get_certificate(self, slot: int) -> CertificateInfo:
        """The certificate of a slot's checkpoint."""
        certificate = self._node.get_certificate(slot)
        if certificate is None:
            raise NoCertificate(what=f"slot {slot}")
        sealers = get_sealers(self._view)
        return CertificateInfo(
            slot=slot,
            block=certificate.statement.block_hash.hex(),
            quorum=compute_quorum(self._node.params.consensus, len(sealers)),
            sealers=len(sealers),
            signatures=tuple(
                SignatureInfo(key=key.hex(), name=self.members.name_of(address_of(key)), signature=signature.hex())
                for key, signature in certificate.signatures
            ),
        )

    # --- members -------------------------------------------------------------------------------------

    def get_account(self, ref: str) -> AccountInfo:
        """A member's account in the head's state, and the sequence its next transaction should have."""
        address = self.members.find(ref)
        view = self._view
        account, member = get_account(view, address), self.members.get_member(address)
        assert member is not None, "nobody else is found"
        params = self._node.params
        has_columns = params.kind == "trading" and params.market.income_and_cost == "kept"
        return AccountInfo(
            height=self._chain.head.height,
            address=show_address(address),
            name=member.name,
            role=member.role,
            balance_uyuan=account.balance_uyuan,
            reserved_uyuan=account.reserved_uyuan,
            credit_upt=account.credit_upt,
            sequence=account.sequence,
            next_sequence=self._node.mempool.next_sequence(address, account.sequence),
            score_count=account.score_count,
            penalty_upt=account.penalty_upt,
            capacity_wh=member.capacity_wh,
            position=member.position,
            income_uyuan=account.income_uyuan if has_columns else None,
            cost_uyuan=account.cost_uyuan if has_columns else None,
            runway=self.treasury.get_runway(address),
        )

    def get_members(self) -> tuple[MemberInfo, ...]:
        sealers = frozenset(get_sealers(self._view))
        return tuple(self._describe_member(item, item.member.key in sealers) for item in self.members.list_all())

    def get_member(self, ref: str) -> MemberInfo:
        """One member by "0x…" or name, also one that is to be, or has gone."""
        address, view = self.members.find(ref), self._view
        member, credential = self.members.get_member(address), get_credential(view, address)
        assert member is not None, "nobody else is found"
        assert credential is not None, "every member has one"
        return self._describe_member(Listing(address, member, credential), member.key in get_sealers(view))

    def _describe_member(self, item: Listing, seals: bool) -> MemberInfo:
        member, credential = item.member, item.credential
        return MemberInfo(
            name=member.name,
            role=member.role,
            address=show_address(item.address),
            key=member.key.hex(),
            capacity_wh=member.capacity_wh,
            position=member.position,
            renewable_ppm=member.renewable_ppm,
            stability_ppm=member.stability_ppm,
            owner=self.members.name_of(member.owner) if member.owner else None,
            seals=seals,
            status=credential.status,
            serial=credential.serial,
            tls_key=credential.tls_key.hex(),
            not_before_ms=credential.not_before_ms,
            not_after_ms=None if credential.not_after_ms == UNLIMITED_MS else credential.not_after_ms,
        )

    def get_credit(self) -> tuple[CreditInfo, ...]:
        """Live and active credit of every member that trades or seals, and the sealers' shares of the blocks."""
        view, active = self._view, get_snapshot(self._chain.head.state).members
        shares = self._compute_shares(active)
        rows = []
        for address, member, credential in self.members.list_all():
            standing = active.get(member.key)
            if credential.status == PENDING or (standing is None and member.role not in TRADERS):
                continue
            account = get_account(view, address)
            row = CreditInfo(
                name=member.name,
                address=show_address(address),
                credit_upt=account.credit_upt,
                active_credit_upt=None if standing is None else standing.credit_upt,
                share_ppm=shares.get(member.key),
                score_count=account.score_count,
            )
            rows.append(row)
        return tuple(rows)

    def _compute_shares(self, active: dict[bytes, SealerSnapshot]) -> dict[bytes, int]:
        """Each sealer's expected share of the blocks at equal hash rates, in ppm: Eq. (11) of text 000 under `poca`."""
        params = self._node.params.consensus
        match params.eligibility:
            case "poca":
                shares = compute_shares([standing.credit_upt for standing in active.values()], params.tau_upt)
            case "work":
                shares = [Fraction(1, len(active))] * len(active)
            case "stake":
                total = sum(standing.balance_uyuan for standing in active.values())
                shares = [Fraction(standing.balance_uyuan, total or 1) for standing in active.values()]
        return {key: round(share * PPM) for key, share in zip(active, shares, strict=True)}

    # --- the market ----------------------------------------------------------------------------------

    def get_periods(self, now_ms: int) -> MarketPeriods:
        """Every delivery period that is open by the clock or live in the state, ascending, and which are over."""
        live = views.live_periods(self._state)
        due = self._periods_by_clock(now_ms)
        periods = tuple(
            self._describe_period(number, now_ms, period in live)
            for period in sorted({*live, *due})
            for number in list_gates(self._market, period)
        )
        closed = views.closed_periods(self._state)
        return MarketPeriods(time_ms=now_ms, periods=periods, closed=closed, sessions=self._market.sessions)

    def find_gate(self, period: int, session: str) -> int:
        """The number of the gate of a period's session, by that one's title. Raises `BadRequest` or `NoSession`."""
        if session not in SESSIONS:
            raise BadRequest(what="session", have=session[:50], want=" or ".join(SESSIONS))
        if SESSIONS[session] >= self._market.sessions:
            raise NoSession(session=session)
        return get_gate_number(self._market, period, SESSIONS[session])

    def get_book(self, number: int) -> BookInfo:
        """The book of a gate, by its number."""
        book = views.get_candidates(self._state, number)
        best_bid, best_ask = views.get_best(self._state, number)
        bids = [candidate for candidate in book if candidate.order.side == Side.BID]
        offers = [candidate for candidate in book if candidate.order.side != Side.BID]
        bids.sort(key=lambda candidate: -candidate.order.price_uyuan_per_kwh)
        offers.sort(key=lambda candidate: candidate.order.price_uyuan_per_kwh)
        return BookInfo(
            period=get_period(self._market, number),
            session=get_session(self._market, number).title,
            best_bid=best_bid,
            best_ask=best_ask,
            bids=tuple(map(self._describe_order, bids)),
            offers=tuple(map(self._describe_order, offers)),
            target=self._describe_target(views.get_target(self._state, number)),
        )

    def _describe_target(self, target: Commitment | None) -> TargetInfo | None:
        if target is None:
            return None
        sender, name = show_address(target.sender), self.members.name_of(target.sender)
        prices = target.prices
        return TargetInfo(
            height=target.height,
            sender=sender,
            sender_name=name,
            g_to_u_uyuan_per_kwh=prices.g_to_u,
            g_to_c_uyuan_per_kwh=prices.g_to_c,
            c_to_u_uyuan_per_kwh=prices.c_to_u,
            c_to_g_uyuan_per_kwh=prices.c_to_g,
        )

    def get_trades(self, number: int) -> TradesInfo:
        """The trades of a gate, by its number."""
        gate, period = get_gate(self._view, number), get_period(self._market, number)
        if gate is None:
            gate_ms = compute_gate_times(number, self._node.params, self._node.genesis.time_ms).gate_ms
            is_past = self._node.chain.head.header.timestamp_ms >= gate_ms
            detail = "it had no orders" if is_past else "its gate is not closed yet"
            raise NoTrades(period=period, detail=detail)
        trades = tuple(map(self._describe_trade, views.get_trades(self._state, number)))
        cuts = tuple(map(describe_curtailment, views.get_curtailments(self._state, number)))
        return TradesInfo(
            period=period,
            session=get_session(self._market, number).title,
            gate=self._describe_gate(number, gate),
            result=self.results.get_result(number),
            trades=trades,
            curtailments=cuts,
        )

    def get_settlement(self, period: int) -> SettlementInfo:
        settled = views.get_settlement(self._state, period)
        if settled is None:
            raise NoSettlement(period=period)
        gates = [(number, get_gate(self._view, number)) for number in list_gates(self._market, period)]
        closed = [(number, gate) for number, gate in gates if gate is not None]
        number, gate = closed[-1] if closed else (period, None)
        return SettlementInfo(
            period=period,
            trades=tuple(map(self._describe_settled, settled.trades, self._list_sessions(period, settled.trades))),
            grid=tuple(map(self._describe_with_grid, settled.grid)),
            gate=None if gate is None else self._describe_gate(number, gate),
            unheard=tuple(
                show_address(item.member) for item in views.get_balances(self._state, period) if item.metered_wh is None
            ),
        )

    def _list_sessions(self, period: int, trades: Sequence[SettledTrade]) -> Sequence[str]:
        """The session in which each of a period's settled trades was made; nothing said where there is one."""
        if not is_firm(self._market):
            return [""] * len(trades)
        return [
            get_session(self._market, gate).title
            for gate in list_gates(self._market, period)
            if (record := get_gate(self._view, gate)) is not None and record.status == SETTLED
            for _ in views.get_binding_trades(self._state, gate)
        ]

    def _periods_by_clock(self, now_ms: int) -> Iterable[int]:
        params, since_ms = self._node.params, now_ms - self._node.genesis.time_ms
        period_ms = params.ledger.period_ms
        last = (since_ms + params.market.open_ppm * period_ms // PPM) // period_ms
        first = max(0, (since_ms - params.market.settle_ppm * period_ms // PPM) // period_ms + 1)
        return range(first, min(last, first + MAX_PERIODS) + 1)

    def _describe_period(self, number: int, now_ms: int, is_live: bool) -> PeriodInfo:
        times = compute_gate_times(number, self._node.params, self._node.genesis.time_ms)
        gate = get_gate(self._view, number)
        return PeriodInfo(
            period=get_period(self._market, number),
            session=get_session(self._market, number).title,
            phase=_phase_at(times, now_ms),
            live=is_live,
            gate=None if gate is None else self._describe_gate(number, gate),
            orders_until_ms=views.get_orders_end(self._state, number, self._node.genesis),
            **asdict(times),
        )

    def _list_failed_periods(self) -> tuple[FailedPeriod, ...]:
        """Periods void, and periods with trades that were never metered, of the last whose deadlines have passed."""
        params, head = self._node.params, self._chain.head.header
        since_ms = head.timestamp_ms - self._node.genesis.time_ms
        last = (since_ms * PPM // params.ledger.period_ms + params.market.deadline_ppm) // PPM
        view, failed = self._view, []
        for period in range(max(0, last - _LOOK_BACK_PERIODS + 1), last + 1):
            for number in list_gates(self._market, period):
                gate, session = get_gate(view, number), get_session(self._market, number).title
                if gate is not None and (gate.status == VOID or (gate.status == LAPSED and gate.trade_count)):
                    failed.append(FailedPeriod(period=period, gate=self._describe_gate(number, gate), session=session))
        return tuple(failed)

    def _describe_gate(self, number: int, gate: Gate) -> GateInfo:
        keys = self._node.missing_votes.get(number) if gate.reason == NO_CERTIFICATE else ()
        missing = tuple(map(self._name_of_key, keys))
        failure = describe_failure(get_period(self._market, number), gate.reason, missing)
        return GateInfo(
            height=gate.height,
            block=(self._chain.hash_at(gate.height) or b"").hex(),
            result_root=gate.result_root.hex(),
            trade_count=gate.trade_count,
            status=gate.status,
            reason=gate.reason,
            missing=missing,
            detail=failure.detail,
            remedy=failure.remedy,
        )

    def _describe_order(self, candidate: WeightedOrder) -> OrderInfo:
        order = candidate.order
        return OrderInfo(
            order_id=order.order_id,
            owner=show_address(order.owner),
            owner_name=self.members.name_of(order.owner),
            price_uyuan_per_kwh=order.price_uyuan_per_kwh,
            volume_wh=order.volume_wh,
            credit_upt=candidate.credit_upt,
            capacity_wh=candidate.capacity_wh,
            renewable_ppm=candidate.renewable_ppm,
            position=candidate.position,
            stability_ppm=candidate.stability_ppm,
        )

    def _describe_trade(self, record: TradeRecord) -> TradeInfo:
        match = record.match
        assert match is not None, "this chain made the trade"
        return TradeInfo(
            index=record.trade_index,
            buyer=show_address(record.buyer),
            buyer_name=self.members.name_of(record.buyer),
            seller=show_address(record.seller),
            seller_name=self.members.name_of(record.seller),
            price_uyuan_per_kwh=record.price_uyuan_per_kwh,
            volume_wh=record.volume_wh,
            bid=_describe_party(match.bid),
            offer=_describe_party(match.offer),
            weights=_describe_weights(match),
        )

    def _describe_settled(self, row: SettledTrade, session: str) -> SettledTradeInfo:
        fields = row._asdict()
        index, buyer, seller = (fields.pop(name) for name in ("trade_index", "buyer", "seller"))
        fields |= {name: bool(fields[name]) for name in ("is_consumption_imputed", "is_output_imputed")}
        return SettledTradeInfo(
            index=index,
            buyer=show_address(buyer),
            buyer_name=self.members.name_of(buyer),
            seller=show_address(seller),
            seller_name=self.members.name_of(seller),
            session=session,
            **fields,
        )

    def _describe_with_grid(self, row: SettledWithGrid) -> GridSettlementInfo:
        fields = row._asdict()
        member = fields.pop("member")
        return GridSettlementInfo(
            member=show_address(member),
            member_name=self.members.name_of(member),
            session=REAL_TIME if is_firm(self._market) else "",
            **fields,
        )

    # --- inside ----------------------------------------------------------------------------------------

    @property
    def _state(self) -> State:
        return self._chain.head.state

    @property
    def _market(self) -> MarketParams:
        return self._node.params.market

    @property
    def _view(self) -> Overlay:
        return Overlay(self._chain.head.state)

    def get_raw_block(self, ref: str) -> RawBlock:
        """The same block as it is hashed: whoever knows its header needs to believe nobody."""
        block = self._find_block(ref)
        codes = self._get_codes(block.hash) or ("",) * len(block.transactions)
        return RawBlock(block=block.raw.hex(), codes=codes)

    def get_raw_certificate(self, slot: int) -> RawCertificate:
        """The certificate of a slot as it is stored."""
        certificate = self._node.get_certificate(slot)
        if certificate is None:
            raise NoCertificate(what=f"slot {slot}")
        return RawCertificate(certificate=certificate.raw.hex())

    def _find_block(self, ref: str) -> Block:
        chain = self._chain
        if ref == "head":
            block_hash: bytes | None = chain.head.hash
        elif ref.isascii() and ref.isdecimal() and len(ref) < 19:
            block_hash = chain.hash_at(int(ref))
        else:
            block_hash = parse_hash(ref, "block")
        block = None if block_hash is None else chain.get_block(block_hash)
        header = None if block_hash is None or block is not None else chain.get_header(block_hash)
        if header is not None and chain.is_pruned(header.height):
            raise BlockPruned(height=header.height, bodies_from=chain.bodies_from)
        if block is None:
            raise UnknownBlock(ref=ref[:70])
        return block

    def _get_codes(self, block_hash: bytes) -> tuple[str, ...]:
        """The outcome codes of a block's transactions, from the store or, before it is there, from memory."""
        receipts = self._chain.get_receipts(block_hash)
        if receipts is None:
            entry = self._chain.get(block_hash)
            assert entry is not None
            assert entry.execution is not None, "a block that is not in the store was executed here"
            receipts = entry.execution.receipts
        return tuple(receipt.code for receipt in receipts)

    def _depth_of(self, header: Header) -> int:
        chain = self._chain
        return chain.head.height - header.height + 1 if chain.is_canonical(header) else 0


def refuse_unknown(chain: Chain, transaction_id: bytes) -> NotFound:
    """The error that answers for a transaction which is not found: it may be older than all that is kept."""
    if chain.bodies_from > 1:
        return TransactionNotKept(transaction_id=transaction_id.hex(), bodies_from=chain.bodies_from)
    return UnknownTransaction(transaction_id=transaction_id.hex())


# --- showing values ------------------------------------------------------------------------------------


def parse_hash(text: str, what: str) -> bytes:
    """32 bytes from 64 hexadecimal digits, with or without 0x. Raises `BadRequest`."""
    digits = text.removeprefix("0x")
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(value) != HASH_SIZE or len(digits) != 2 * HASH_SIZE:
        raise BadRequest(what=what, have=text[:70], want="64 hexadecimal digits")
    return value


def show_bytes(raw: bytes) -> str:
    """Addresses as "0x…", anything else as plain hexadecimal."""
    return show_address(raw) if len(raw) == ADDRESS_SIZE else raw.hex()


def show_value(value: Value) -> Any:
    """A canonical value as JSON has it."""
    if isinstance(value, tuple):
        return [show_value(item) for item in value]
    return show_bytes(value) if isinstance(value, bytes) else value


def show_text(value: Value) -> Any:
    """A value for JSON, like `show_value`, where no bound on an integer is known: integers in decimal digits."""
    if isinstance(value, tuple):
        return [show_text(item) for item in value]
    return str(value) if isinstance(value, int) else show_value(value)


def _phase_at(times: PeriodTimes, now_ms: int) -> str:
    if now_ms < times.open_ms:
        return "coming"
    if now_ms < times.gate_ms:
        return "open"
    if now_ms < times.delivery_start_ms:
        return "gate-closed"
    if now_ms < times.delivery_end_ms:
        return "delivering"
    return "metering" if now_ms < times.settle_ms else "past"


def _describe_party(party: Party) -> PartyInfo:
    order_id, node_type, credit_upt, position, _ = party
    return PartyInfo(order_id=order_id, node_type=node_type, credit_upt=credit_upt, position=position)


def _describe_weights(match: Match) -> WeightsInfo:
    def describe(party: Party) -> ContributionsInfo:
        return ContributionsInfo(**party.contributions._asdict())

    return WeightsInfo(
        w_ppm=match.w_ppm, bid_ppm=match.bid.weight_ppm, offer=describe(match.offer), bid=describe(match.bid)
    )


# --- events --------------------------------------------------------------------------------------------

_ORDER = ("period", "order_id", "owner", "side", "price_uyuan_per_kwh", "volume_wh")
_READING = ("period", "owner", "consumed_wh", "produced_wh")
_SETTLEMENT = (
    "period", "buyer", "seller", "buyer_pays_uyuan", "seller_receives_uyuan", "grid_receives_uyuan", "traded_wh"
)  # fmt: skip
_GRID_SETTLEMENT = ("period", "member", "consumption_wh", "output_wh", "pays_uyuan", "receives_uyuan")
_CREDIT = ("period", "member", "score_upt", "credit_upt")
EVENT_FIELDS: dict[str, tuple[str, ...]] = {
    "head": ("height", "hash", "producer"),
    "reorg": ("removed", "added"),
    "upgrade": ("rules", "height"),
    "release-needed": ("rules", "height"),
    "chain-halted": ("rules", "height"),
    "snapshot-begun": ("height", "hash"),
    "snapshot-taken": ("height", "hash", "entries"),
    "snapshot-ended": ("height", "hash"),
    "snapshot-work-differs": ("excess",),
    "bodies-missing": ("height", "bodies_from_height"),
    "block-refused": ("hash", "code"),
    "late-block": ("height", "hash", "producer"),
    "signing-restored": ("height", "silent_until"),
    "signing-waits": ("height", "silent_until"),
    "signing-record-behind": ("height", "silent_until"),
    "signing-signs": ("height", "silent_until"),
    "signing-read-only": ("height", "silent_until"),
    "equivocation": ("producer",),
    "not-executed": ("transaction", "sender", "code", "height", "by"),
    "executable-again": ("transaction",),
    "result-differs": ("slot", "member", "block", "result"),
    "result-elsewhere": ("slot", "member", "block", "result"),
    "result-conflict": ("slot", "block", "result"),
    "certificate": ("slot", "height", "block", "signatures"),
    "certified": ("slot", "height", "block", "signatures"),
    "relayed": ("source", "kind", "number", "part", "parts", "height"),
    "finality-conflict": ("slot", "block"),
    "punished": ("member", "credit_upt"),
    "transfer": ("sender", "receiver", "amount_uyuan"),
    "deposit": ("bank", "member", "amount_uyuan", "statement", "line"),
    "withdrawal": ("bank", "amount_uyuan", "statement", "line"),
    "standing-order": ("bank", "member", "limit_uyuan", "every_periods", "due_period"),
    "standing-order-ended": ("bank", "member"),
    "topped-up": ("bank", "member", "amount_uyuan", "lacking_uyuan", "due_period"),
    "asset-issued": ("class", "series", "issuer", "holder", "amount"),
    "asset-moved": ("class", "series", "sender", "receiver", "amount"),
    "asset-sold": ("class", "series", "seller", "buyer", "amount", "price_uyuan"),
    "asset-spent": ("class", "series", "holder", "amount"),
    "asset-renewed": ("class", "series", "new_series", "holder", "amount"),
    "asset-expired": ("class", "series", "issuer", "amount"),
    "claim-served": (
        *("period", "series", "producer", "holder", "redeemed_wh", "short_wh", "cancelled_wh", "penalty_uyuan"),
        "wheeling_uyuan",
    ),
    "voucher-paid": ("holder", "payee", "vouchers", "amount_uyuan", "purpose"),
    "incentive": ("period", "buyer", "seller", "energy_wh", "vouchers"),
    "block-reward": ("producer", "vouchers"),
    "funded": ("sender", "pot", "amount_uyuan"),
    "bill": (
        *("period", "member", "energy_wh", "paid_uyuan", "producer_uyuan", "transmission_uyuan"),
        *("distribution_uyuan", "tax_uyuan"),
    ),
    "programme": ("programme", "funder", "budget_uyuan", "first_period", "last_period"),
    "subsidy": ("programme", "period", "producer", "green_wh", "due_uyuan", "paid_uyuan", "left_uyuan"),
    "programme-ended": ("programme", "state", "funder", "paid_uyuan", "returned_uyuan"),
    "pool-opened": ("pool", "originator", "start_period", "end_period"),
    "pool-admitted": ("pool", "plant", "value_uyuan"),
    "pool-collected": ("pool", "period", "plant", "amount_uyuan"),
    "plant-defaulted": ("pool", "plant", "value_uyuan"),
    "pool-paid": ("pool", "collections_uyuan", *(f"{name}_uyuan" for name in Payments._fields)),
    "note-paid": ("pool", "series", "holder", "interest_uyuan", "principal_uyuan"),
    "pool-status": ("pool", "status", "left_uyuan"),
    "admitted": ("member", "name", "serial"),
    "member": ("member", "name", "role"),
    "revoked": ("member", "serial", "reason"),
    "renewed": ("member", "serial"),
    "left": ("member", "serial"),
    "sealers": ("since_slot", "sealers"),
    "sealers-announced": ("since_slot", "sealers"),
    "sealers-of": ("source", "since_slot", "sealers"),
    "order": _ORDER,
    "cancelled": _ORDER,
    "gate": ("period", "trade_count", "volume_wh", "result_root"),
    "trade": ("period", "index", "buyer", "seller", "price_uyuan_per_kwh", "volume_wh"),
    "certified-result": ("period",),
    "accepted": ("period", "curtailed", "accepted_wh"),
    "curtailed": ("period", "index", "accepted_wh", "line"),
    "trimmed": ("period", "order_id", "owner", "side", "volume_wh"),
    "void": ("period", "reason"),
    "votes-missing": ("period", "members"),
    "countersigned": ("period", "result_root"),
    "unmetered": ("period",),
    "game-target": (
        *("period", "sender", "g_to_u_uyuan_per_kwh", "g_to_c_uyuan_per_kwh"),
        *("c_to_u_uyuan_per_kwh", "c_to_g_uyuan_per_kwh"),
    ),
    "second-target": ("period", "sender"),
    "metered": ("period", "meters"),
    "plan": ("period", "sender", "lines", "load_wh", "output_wh"),
    "plan-lapsed": ("period",),
    "quota": ("period", "lines", "demand_wh", "supply_wh"),
    "verdict": ("period", "trades", "curtailed", "accepted_wh"),
    "actual": ("period", "contracts", "metered_wh"),
    "digest": ("source", "kind", "number", "digest"),
    "violation": ("period", "index", "member", "kind", "agreed_wh", "metered_wh"),
    "violation-withdrawn": ("period", "index", "member", "kind"),
    "credit-snapshot": ("period", "members"),
    "credit-applied": ("period", "members"),
    "coin-issued": ("transaction", "owner", "credit_upt"),
    "coin-expired": ("transaction", "owner", "credit_upt"),
    "coins-moved": ("transaction", "sender", "inputs", "outputs"),
    "coins-merged": ("transaction", "owner", "inputs", "credit_upt"),
    "register": _READING,
    "reading": _READING,
    "corrected": (*_READING, "revision"),
    "correction-lapsed": ("period", "owner"),
    "imputed": ("period", "member", "consumption_wh", "output_wh"),
    "settlement": _SETTLEMENT,
    "grid-settlement": _GRID_SETTLEMENT,
    "credit": _CREDIT,
    "settled": ("period",),
    "resettlement": _SETTLEMENT,
    "grid-resettlement": _GRID_SETTLEMENT,
    "credit-corrected": _CREDIT,
    "resettled": ("period",),
}


OF_A_GATE = frozenset(
    (
        *("quota", "order", "cancelled", "trimmed", "gate", "trade", "certified-result", "verdict", "accepted"),
        *("curtailed", "countersigned", "void", "votes-missing", "game-target", "second-target", "settlement"),
    )
)  # events whose first value is a gate's number


def describe_event(event: Event, market: MarketParams | None = None) -> dict[str, Any]:
    """A published event by name: `{"event": name, field: value…}`, or its bare `values` where it is not known here.

    Where the market trades each period twice, what happens to a gate has the session beside its period.
    """
    name, *values = event
    fields = EVENT_FIELDS.get(str(name), ())
    if len(fields) != len(values):
        return {"event": name, "values": [show_value(value) for value in values]}
    shown = {field: show_value(value) for field, value in zip(fields, values, strict=True)}
    if market is not None and market.sessions > 1 and name in OF_A_GATE:
        gate = shown.pop("period")
        shown = {"period": get_period(market, gate), "session": get_session(market, gate).title, **shown}
    if "side" in shown:
        shown["side"] = Side(shown["side"]).name.lower()
    if name in ("coins-moved", "coins-merged"):
        shown["inputs"] = [dict(zip(("transaction", "index"), point, strict=True)) for point in shown["inputs"]]
    if name == "coins-moved":
        shown["outputs"] = [dict(zip(("owner", "credit_upt"), coin, strict=True)) for coin in shown["outputs"]]
    return {"event": name, **{field: show_exact(value, field) for field, value in shown.items()}}
