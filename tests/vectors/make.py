"""Makes `docs/vectors.json`, the test vectors for other languages: `python -m tests.vectors.make > docs/vectors.json`.

All of it follows from the names below, so that the same code makes the same bytes on every machine. In a `value` text,
small integers, null and arrays are as in JSON, bytes are {"bytes": hex} and other integers {"int": decimal}.
`verify.py` beside this file says, without our packages, what each field is.
"""

from __future__ import annotations

import json
from hashlib import sha512
from typing import Any, cast

from nacl.bindings import crypto_core_ed25519_add

from consensus.pbft.messages import (
    build_certificate,
    build_prepared,
    encode_message,
    sign_pre_prepare,
    sign_prepare,
    sign_view_change,
)
from consensus.poca.credit_target import compute_target
from consensus.quorum import Statement, max_faulty, pbft_quorum, sign_statement
from consensus.seal import search
from gridmerit.network.enrolment import Keys, Terms, make_application
from ledger.accounts import Account, account_key, account_to_value, get_account
from ledger.block import Block, Header, compute_tx_root
from ledger.codec import Value, decode, encode
from ledger.contract import BlockContext
from ledger.errors import GridmeritError
from ledger.execution import Receipt, compute_receipt_root
from ledger.genesis import Authority, Genesis, GenesisMember, build_state
from ledger.hashing import sha256, show_address
from ledger.membership import Admission, compute_act_digest
from ledger.merkle import inclusion_proof
from ledger.outbox import outbox_key
from ledger.overlay import Overlay
from ledger.params import ChainParams, MarketParams
from ledger.results import Result, compute_digest, encode_results
from ledger.signatures import FIELD_PRIME, GROUP_ORDER, SigningKey, check_public_key, verify
from ledger.state import State
from ledger.state_chunks import Prefix, StateChunk, cut_all, cut_chunk
from ledger.state_tree import path_of
from ledger.transaction import Transaction, make_transaction
from market.credit.assets import Assessment, coin_key
from market.credit.colored_coin import (
    DUST_SAT,
    Label,
    OutPoint,
    choose_padding_code,
    count_received,
    issue,
    label,
    make_sequence,
    merge,
    merit_colour,
    padding,
)
from market.credit.violations import Delivery, find_violation
from market.messages import DELIVERED
from market.metering import Corrected, add_reading
from market.orders import Side
from market.trading.contract import TradeIntention
from market.trading.gates import Gate, gate_key
from market.trading.matching_weight import WeightInputs
from market.trading.period_settlement import settle_period
from market.trading.positions import add_positions, get_position, position_key
from market.trading.reserves import compute_trade_reserves, replace_reserves
from market.trading.sessions import get_session, list_gates
from market.trading.trades import Match, Party, TradeRecord, compute_result_root, encode_trade_leaf
from node.chain import messages as wire
from node.peer.records import PeerRecord

MEMBERS = ("anna", "bert", "cleo", "dora")
KEYS = {name: SigningKey(sha256(b"vectors/" + name.encode())) for name in (*MEMBERS, "anna/tls", "authority")}
ANNA, BERT = KEYS["anna"], KEYS["bert"]
CHAIN, NETWORK = sha256(b"vectors/chain"), sha256(b"vectors/network")
IDENTITY = (1).to_bytes(32, "little")  # the neutral point
OF_ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
TIME_MS, PERIOD = 1_800_000_000_000, 7
GATES = 4  # in the state: enough for a place in the tree where nothing is
TAU_UPT, CREDIT_UPT, SCORE_UPT, N_DIFF = 10_000_000, 90_000_000, 95_000_000, 2**240

GRID = SigningKey(sha256(b"vectors/grid"))
FOUNDING_UYUAN = 10_000_000_000
TWICE: dict[str, Any] = {
    "open_ppm": 4_000_000,
    "gate_ppm": 3_000_000,
    "intraday_open_ppm": 2_000_000,
    "intraday_gate_ppm": 1_000_000,
    "wheeling_uyuan_per_kwh": 20_001,
    "income_and_cost": "kept",
    "recorded_violations": 16,
    "tolerance_ppm": 50_001,
}
MADE = (  # (buyer, seller, µ¥ per kWh, Wh) of each gate
    (("bert", "anna", 550_000, 3_000_000), ("cleo", "anna", 540_001, 1_000_000)),
    (("dora", "bert", 500_003, 1_000_000),),
)
METERED_WH = {"anna": (0, 5_000_000), "bert": (1_600_000, 100_000), "cleo": (1_050_001, 0)}

REFUSED = {  # what the codec must not take, and why
    "cd0005": "not the shortest form",  # 5 in three bytes
    "d0ff": "not the shortest form",  # -1 in two
    "c500026162": "not the shortest form",  # two bytes under a length of two bytes
    "d9026162": "not the shortest form",  # the text "ab" likewise
    "dc000101": "not the shortest form",  # [1] likewise
    "81a16101": "not allowed",  # a map
    "cb3ff0000000000000": "not allowed",  # a float
    "c3": "not allowed",  # true
    "d40500": "not allowed",  # an extension type
    "c1": "not allowed",
    "9201": "cut off",  # one of two items
    "c4046162": "cut off",
    "": "cut off",
    "0100": "left over",  # a value, and one more byte
    "a1ff": "not UTF-8",
    "a3eda080": "not UTF-8",  # half of a surrogate pair
    "91" * 9 + "01": "too deep",
}
ENCODED: tuple[Value, ...] = (
    *(0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1),
    *(-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**63)),
    *("", "a" * 31, "a" * 32, "a" * 256, "电"),
    *(b"", b"x", b"x" * 255, b"x" * 256),
    *(None, (), (1, "a", b"a", None, (2, ())), tuple(range(15)), tuple(range(16))),
    ((((((((1,),),),),),),),),
)


# --- JSON ------------------------------------------------------------------------------------------------


def show(value: Value) -> Any:
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case tuple():
            return [show(item) for item in value]
        case int() if abs(value) >= 2**53:
            return {"int": str(value)}
    return value


# --- the vectors, by section -------------------------------------------------------------------------------


def make_keys() -> list[dict[str, Any]]:
    return [
        {
            "seed": key.seed.hex(),
            "public_key": key.public_key.hex(),
            "address": key.address.hex(),
            "shown": show_address(key.address),
        }
        for key in KEYS.values()
    ]


def make_refused_keys() -> list[str]:
    """Points of small order and encodings that are not canonical."""
    numbers = (0, 1, FIELD_PRIME - 1, 1 | 1 << 255, FIELD_PRIME, FIELD_PRIME + 1, 2**255 - 1)
    keys = [number.to_bytes(32, "little") for number in numbers]
    for key in keys:
        try:
            check_public_key(key)
        except GridmeritError:
            continue
        raise AssertionError(f"{key.hex()} is not refused")
    return [key.hex() for key in keys]


def make_refused_signatures() -> list[dict[str, Any]]:
    """Signatures that hold in libraries which leave out one of three checks: of S, of R, and of the key.

    S is below the group order. R is no point of small order, and no key has a part that is: under a key with one, some
    verifiers take a signature that others refuse, and a chain would fall apart over it.
    """
    digest = sha256(b"vectors/digest")
    hashed = sha512(ANNA.seed).digest()
    secret = int.from_bytes(hashed[:32], "little") & (1 << 254) - 8 | 1 << 254
    good = ANNA.sign(digest)
    scalar = int.from_bytes(good[32:], "little") + GROUP_ORDER
    mixed = crypto_core_ed25519_add(ANNA.public_key, OF_ORDER_8)

    def answer(key: bytes, point: bytes, message: bytes) -> int:
        return int.from_bytes(sha512(point + key + message).digest(), "little") % GROUP_ORDER

    forged = answer(ANNA.public_key, IDENTITY, digest) * secret % GROUP_ORDER
    lucky = next(  # the part of small order vanishes for one digest in eight
        message
        for message in (sha256(b"vectors/digest/%d" % number) for number in range(1_000))
        if answer(mixed, ANNA.sign(message)[:32], message) % 8 == 0
    )
    point = ANNA.sign(lucky)[:32]
    nonce = int.from_bytes(sha512(hashed[32:] + lucky).digest(), "little")
    under_mixed = (nonce + answer(mixed, point, lucky) * secret) % GROUP_ORDER
    return [
        refuse("S is not below the group order", ANNA.public_key, digest, good[:32], scalar),
        refuse("R is of small order", ANNA.public_key, digest, IDENTITY, forged),
        refuse("the key has a part of small order", mixed, lucky, point, under_mixed),
    ]


def refuse(reason: str, key: bytes, digest: bytes, point: bytes, scalar: int) -> dict[str, Any]:
    signature = point + scalar.to_bytes(32, "little")
    try:
        verify(key, digest, signature, what=reason)
    except GridmeritError:
        shown = {"signer": ANNA.public_key, "public_key": key, "digest": digest, "refused": signature}
        return {"reason": reason, **{name: value.hex() for name, value in shown.items()}}
    raise AssertionError(f"a signature is not refused though {reason}")


def make_encodings() -> list[dict[str, Any]]:
    return [{"value": show(value), "raw": encode(value).hex()} for value in ENCODED]


def make_refused_encodings() -> list[dict[str, Any]]:
    for raw in REFUSED:
        try:
            decode(bytes.fromhex(raw), max_bytes=1_000)
        except GridmeritError:
            continue
        raise AssertionError(f"{raw} is not refused")
    return [{"raw": raw, "reason": reason} for raw, reason in REFUSED.items()]


def list_transactions() -> list[Transaction]:
    intention = TradeIntention(Side.OFFER, PERIOD, 550_000, 200_000)
    coins = ((make_assessment().id, 0),), ((BERT.address, 2_000_000), (ANNA.address, SCORE_UPT - 2_000_000))
    acts = [
        (ANNA, "transfer", (BERT.address, 5_000_000)),
        (ANNA, "intention", intention.to_payload()),
        (BERT, "reading", (PERIOD, 180_000, 0)),
        (ANNA, "coin-transfer", (*coins, make_sequence(Label.TRANSFER, 0))),
    ]
    return [
        make_transaction(key, chain_id=CHAIN, sequence=number, expiry_height=90, kind=kind, payload=payload)
        for number, (key, kind, payload) in enumerate(acts)
    ]


def make_transactions() -> list[dict[str, Any]]:
    return [
        {"value": show(one.to_value()), "raw": one.raw.hex(), "id": one.id.hex(), "sender": one.sender.hex()}
        for one in list_transactions()
    ]


def make_assessment() -> Assessment:
    return Assessment("JY1", DELIVERED, PERIOD, 0, Side.OFFER)


def make_coin() -> dict[str, Any]:
    """An assessment's colour, and Eqs (3)-(6) of text 000 on the output that holds it."""
    assessment, coins = make_assessment(), 300
    sequence = make_sequence(Label.GENESIS, choose_padding_code(coins, DUST_SAT))
    value_sat = coins + padding(sequence)
    assert count_received(value_sat, sequence) == coins
    return {
        "assessment": show((*assessment[:-1], int(assessment.side))),
        "colour": assessment.id.hex(),
        "sequence": sequence,
        "label": label(sequence),
        "padding": padding(sequence),
        "value_sat": value_sat,
        "coins": coins,
        "state_key": coin_key(OutPoint(assessment.id, 0)).hex(),
    }


def make_merger() -> dict[str, Any]:
    """The coins of three assessments made into one of their earner's colour: a path of digests back to each."""
    colour = merit_colour(ANNA.address)
    assessments = [make_assessment()._replace(trade_index=index).id for index in range(3)]
    coins = dict(issue(name, ANNA.address, SCORE_UPT, colour=colour).made[0] for name in assessments)
    ((point, _),) = merge(coins, colour).made
    return {
        "owner": ANNA.address.hex(),
        "colour": colour.hex(),
        "coins": [show((tuple(spent), tuple(coin))) for spent, coin in sorted(coins.items())],
        "id": point.transaction_id.hex(),
    }


def make_state() -> State:
    ((point, coin),) = issue(make_assessment().id, ANNA.address, SCORE_UPT).made
    account = Account(balance_uyuan=1_000_000_000, credit_upt=CREDIT_UPT, sequence=3)
    return State.from_items(
        [
            *((account_key(key.address), encode(account_to_value(account))) for key in KEYS.values()),
            *((gate_key(period), encode(make_gate().to_value())) for period in range(PERIOD, PERIOD + GATES)),
            (coin_key(point), encode((tuple(coin), (b"", b"")))),
        ]
    )


def make_state_proofs() -> dict[str, Any]:
    """Two keys that are there, and two that are not: in the place of one is another's leaf, of the other nothing."""
    state = make_state()
    present = [account_key(ANNA.address), gate_key(PERIOD)]
    absent = [b"x/%d" % number for number in range(64)]
    beside = next(key for key in absent if state.prove(key).other_leaf is not None)
    empty = next(key for key in absent if state.prove(key).other_leaf is None)
    return {
        "entries": [[key.hex(), value.hex()] for key, value in state.items()],
        "root": state.root.hex(),
        "proofs": [
            {
                "key": key.hex(),
                "value": None if (value := state.get(key)) is None else value.hex(),
                "proof": encode(state.prove(key).to_value()).hex(),
            }
            for key in (*present, beside, empty)
        ],
        "chunks": [encode(chunk.to_value()).hex() for chunk in make_chunks(state)],
    }


def make_chunks(state: State) -> list[StateChunk]:
    """Chunks of a few leaves that are all of a state, and two of places that the tree does not reach down to."""
    leaf = path_of(account_key(ANNA.address))
    deep = int.from_bytes(leaf, "big") >> 236
    return [
        *cut_all(state, max_bytes=400),
        *(cut_chunk(state, Prefix(20, (one << 236).to_bytes(32, "big"))) for one in (deep, deep ^ 1)),
    ]


def list_trades() -> list[TradeRecord]:
    parts = WeightInputs(100_000, 200_000, 50_000, 40_000, 50_000, 60_000, 60_000)
    bid = Party(1, "consumer", CREDIT_UPT, "feeder-1", parts)
    offer = Party(2, "producer", 95_000_000, "feeder-1", parts)
    return [
        TradeRecord(PERIOD, index, ANNA.address, BERT.address, 550_000 + index, 200_000, Match(bid, offer))
        for index in range(5)
    ]


def make_gate() -> Gate:
    trades = list_trades()
    return Gate(height=41, result_root=compute_result_root(trades), trade_count=len(trades))


def list_results() -> list[Result]:
    gate = make_gate()
    return [Result(PERIOD, gate.trade_count, gate.result_root)]


def make_trade_result() -> dict[str, Any]:
    """The results that a vote signs, and the inclusion of one record under its root."""
    trades, index = list_trades(), 3
    leaves = [encode_trade_leaf(trade) for trade in trades]
    return {
        "results": encode_results(list_results()).hex(),
        "digest": compute_digest(list_results()).hex(),
        "leaves": [leaf.hex() for leaf in leaves],
        "root": compute_result_root(trades).hex(),
        "index": index,
        "path": [item.hex() for item in inclusion_proof(leaves, index)],
        "record": show(trades[index].to_value()),
    }


def make_twice_traded() -> dict[str, Any]:
    """A period that is traded twice and settled: positions, both columns, what is left to deliver, and violations.

    Cleo is metered at the bound of the tolerance, Dora not at all.
    """
    genesis = found_market()
    market = genesis.params.market
    view = Overlay(build_state(genesis))
    trades = trade_twice(view, market)
    delivered = settle_trades(view, genesis, trades)
    members = sorted(KEYS[name].address for name in MEMBERS)
    return {
        "period": PERIOD,
        "grid": GRID.address.hex(),
        "wheeling_uyuan_per_kwh": market.wheeling_uyuan_per_kwh,
        "retail_uyuan_per_kwh": market.retail_uyuan_per_kwh,
        "feed_in_uyuan_per_kwh": market.feed_in_uyuan_per_kwh,
        "tolerance_ppm": market.tolerance_ppm,
        "trades": [show(trade.terms) for trade in trades],
        "metered": [show((KEYS[name].address, *energy)) for name, energy in METERED_WH.items()],
        "sessions": [get_session(market, trade.gate).title for trade in trades],
        "positions": [
            [key.hex(), encode(tuple(get_position(view, gate, member))).hex()]
            for gate in list_gates(market, PERIOD)
            for member in members
            if (key := position_key(gate, member)) and view.get(key) is not None
        ],
        "accounts": [
            {
                "address": address.hex(),
                "founding_uyuan": 0 if address == GRID.address else FOUNDING_UYUAN,
                "initial_credit_upt": market.initial_credit_upt,
                "raw": encode(account_to_value(get_account(view, address))).hex(),
            }
            for address in sorted([GRID.address, *members])
        ],
        "delivered": show(delivered),
        "violations": [
            [index, int(side), kind.label]
            for index, _, _, agreed_wh, *metered_wh in delivered
            for side, wh in zip(Side, metered_wh, strict=True)
            if (kind := find_violation(Delivery(PERIOD, index, side, agreed_wh, wh), market.tolerance_ppm)) is not None
        ],
    }


def found_market() -> Genesis:
    """The genesis of a market whose periods are traded twice, with its grid operator and equal founders."""
    members = [
        GenesisMember(name="grid", role="grid-operator", key=GRID.public_key, seals=True),
        *(
            GenesisMember(name=name, role="prosumer", key=KEYS[name].public_key, balance_uyuan=FOUNDING_UYUAN)
            for name in MEMBERS
        ),
    ]
    authority = Authority(keys=(KEYS["authority"].public_key,))
    params = ChainParams(name="JY1", market=MarketParams(**TWICE))
    return Genesis(params=params, time_ms=TIME_MS, members=tuple(members), authority=authority)


def trade_twice(view: Overlay, market: MarketParams) -> list[TradeRecord]:
    """The trades of the period's gates, whose reserves and positions are written to the state."""
    trades = []
    for gate, made in zip(list_gates(market, PERIOD), MADE, strict=True):
        own = [
            TradeRecord(gate, index, KEYS[buyer].address, KEYS[seller].address, price, volume_wh)
            for index, (buyer, seller, price, volume_wh) in enumerate(made)
        ]
        wheeling = dict.fromkeys([trade.buyer for trade in own], market.wheeling_uyuan_per_kwh)
        replace_reserves(view, {}, compute_trade_reserves(own, wheeling, market))
        add_positions(view, gate, own)
        trades += own
    return trades


def settle_trades(view: Overlay, genesis: Genesis, trades: list[TradeRecord]) -> tuple[Any, ...]:
    """The deliveries that are said to the credit chain once the period is metered and settled."""
    for name, (consumed_wh, produced_wh) in METERED_WH.items():
        add_reading(view, Corrected(PERIOD, KEYS[name].address, consumed_wh, produced_wh, revision=0))
    block = BlockContext(
        params=genesis.params,
        chain_id=CHAIN,
        genesis_time_ms=TIME_MS,
        height=43,
        parent=bytes(32),
        producer=GRID.address,
        timestamp_ms=TIME_MS,
        period=PERIOD,
        is_first_of_period=False,
        siblings=frozenset({"credit"}),
    )
    assert settle_period(view, block, PERIOD, trades)
    _, delivered = cast(tuple[int, tuple[Any, ...]], view.get(outbox_key(DELIVERED, PERIOD, 0)))
    return delivered


def build_block() -> tuple[Block, list[Receipt]]:
    body = tuple(list_transactions())
    receipts = [Receipt(transaction_id=one.id, code="" if one.sequence else "InsufficientBalance") for one in body]
    header = Header(
        chain_id=CHAIN,
        height=42,
        parent=sha256(b"vectors/parent"),
        timestamp_ms=TIME_MS,
        producer=ANNA.public_key,
        credit_upt=CREDIT_UPT,
        n_diff=N_DIFF,
        period=PERIOD,
        tx_root=compute_tx_root(body),
        receipt_root=compute_receipt_root(receipts),
        state_root=make_state().root,
    )
    nonce = search(header.root, compute_target(N_DIFF, CREDIT_UPT, TAU_UPT), count=10**6)
    assert nonce is not None
    return Block(header=header.sealed(nonce, ANNA), transactions=body), receipts


def make_block() -> dict[str, Any]:
    block, receipts = build_block()
    header = block.header
    return {
        "raw": block.raw.hex(),
        "core": header.core.hex(),
        "header": header.raw.hex(),
        "tx_root": header.tx_root.hex(),
        "receipts": show(tuple((receipt.transaction_id, receipt.code) for receipt in receipts)),
        "receipt_root": header.receipt_root.hex(),
        "state_root": header.state_root.hex(),
        "W": header.root.hex(),
        "hash": header.hash.hex(),
        "tau_upt": TAU_UPT,
        "target": compute_target(N_DIFF, CREDIT_UPT, TAU_UPT).to_bytes(32, "big").hex(),
    }


def make_statement() -> Statement:
    block, _ = build_block()
    result = compute_digest(list_results())
    return Statement(chain_id=CHAIN, slot=28, block_hash=block.hash, since_slot=4, result=result)


def make_vote() -> dict[str, Any]:
    statement = make_statement()
    vote = sign_statement(statement, ANNA)
    return {
        "value": show(vote.to_value()),
        "raw": encode(vote.to_value()).hex(),
        "digest": statement.digest().hex(),
    }


def make_certificate() -> dict[str, Any]:
    """A quorum, and no vote more."""
    voters = sorted(KEYS[name].public_key for name in MEMBERS)
    quorum = pbft_quorum(len(voters))
    votes = [sign_statement(make_statement(), KEYS[name]) for name in MEMBERS[:quorum]]
    return {
        "raw": build_certificate(votes).raw.hex(),
        "voters": [key.hex() for key in voters],
        "faulty": max_faulty(len(voters)),
        "quorum": quorum,
    }


def make_ballots() -> list[dict[str, Any]]:
    """Ballots of PBFT replicas: a proposal, a prepare, a view change with nothing prepared, and one with its proof."""
    block, _ = build_block()
    place = {"height": 42, "view": 0, "block_hash": block.hash}
    quorum = pbft_quorum(len(MEMBERS))
    prepared = build_prepared([sign_prepare(KEYS[name], CHAIN, **place) for name in MEMBERS[:quorum]])
    messages = (
        sign_pre_prepare(ANNA, CHAIN, **place, new_view=()),
        sign_prepare(BERT, CHAIN, **place),
        sign_view_change(ANNA, CHAIN, height=42, view=1, prepared=None),
        sign_view_change(BERT, CHAIN, height=42, view=1, prepared=prepared),
    )
    digests = [getattr(message, "prepare", message).digest(CHAIN).hex() for message in messages]
    return [
        {"chain_id": CHAIN.hex(), "raw": encode_message(message).hex(), "digest": digest}
        for message, digest in zip(messages, digests, strict=True)
    ]


def make_messages() -> list[dict[str, Any]]:
    """One of each kind that peers send; what it carries is not what it would be."""
    one, two = sha256(b"vectors/one"), sha256(b"vectors/two")
    work = bytes(39) + b"\x08"
    kinds: tuple[wire.Message, ...] = (
        wire.Status(head=one, height=42, work=work, final_height=41),
        wire.TransactionIds(ids=(one, two)),
        wire.GetTransactions(ids=(one,)),
        wire.Transactions(raw=(one, two)),
        wire.NewBlock(header=one, ids=(two,)),
        wire.GetHeaders(locator=(one, two)),
        wire.Headers(raw=(one, two), certificate=one),
        wire.GetBlocks(ids=(one,)),
        wire.Blocks(raw=(two,)),
        wire.Votes(raw=(one,)),
        wire.Certificate(raw=one),
        wire.Evidence(kind="equivocation", raw=one),
        wire.Relay(raw=one),
        wire.Agreement(raw=one),
        wire.Contacts(raw=(one,)),
        wire.GetSigned(),
        wire.Signed(head=one, work=work, final_height=41, raw=(two,)),
        wire.TradeResult(results=one, raw=(two,)),
        wire.GetTradeRecords(period=PERIOD, indexes=(0, 3)),
        wire.TradeRecords(period=PERIOD, certificate=one, results=two, records=((one, (two,)),)),
        wire.GetSnapshot(known=2),
        wire.Snapshot(headers=(one, two), certificate=one, work=work, handovers=(two,)),
        wire.GetChunk(block_hash=one, depth=3, path=b"\xa0" + bytes(31)),
        wire.Chunk(block_hash=one, raw=two),
        wire.GetAncestors(block_hash=one),
        wire.Ancestors(raw=(one, two)),
        wire.GetBodies(block_hash=one),
        wire.Bodies(raw=(one, two)),
    )
    return [_show_message(message) for message in kinds]


def _show_message(message: wire.Message) -> dict[str, Any]:
    raw = wire.message_to_bytes(message)
    return {"code": raw[0], "body": show(decode(raw[1:], max_bytes=len(raw))), "raw": raw.hex()}


def make_batch() -> dict[str, Any]:
    block, _ = build_block()
    status = wire.Status(head=block.hash, height=42, work=bytes(39) + b"\x08", final_height=41)
    wanted = wire.GetTransactions(ids=tuple(one.id for one in list_transactions()[:2]))
    session, number = sha256(b"vectors/session")[:16], 3
    raw = wire.seal_batch(
        ANNA,
        chain_id=CHAIN,
        receiver=BERT.public_key,
        session=session,
        number=number,
        sent_ms=TIME_MS,
        messages=(status, wanted),
    )
    return {
        "raw": raw.hex(),
        "chain_id": CHAIN.hex(),
        "sender": ANNA.public_key.hex(),
        "receiver": BERT.public_key.hex(),
        "session": session.hex(),
        "number": number,
        "sent_ms": TIME_MS,
        "messages": [wire.message_to_bytes(message).hex() for message in (status, wanted)],
    }


def make_signed() -> list[dict[str, Any]]:
    """Other signed values, in the scope of a network: where a node is, an act of the authority, an application."""
    record = PeerRecord(key=ANNA.public_key, url="https://anna.example:7000", chains=("DU1", "JY1"), sequence=TIME_MS)
    body = (record.key, record.url, record.chains, record.sequence)
    tls_key = KEYS["anna/tls"]
    act = Admission(
        serial=9,
        name="anna",
        role="prosumer",
        key=ANNA.public_key,
        tls_key=tls_key.public_key,
        capacity_wh=10_000,
        position="feeder-1",
        owner=b"",
        seals=("JY1",),
        not_before_ms=TIME_MS,
        not_after_ms=TIME_MS + 86_400_000,
    ).to_value()
    terms = Terms(name="anna", role="prosumer", capacity_wh=10_000, position="feeder-1", seals=("JY1",))
    application = make_application(NETWORK, terms, Keys(ANNA, tls_key), nonce=sha256(b"vectors/nonce"))
    rows = (
        ("contact", ANNA, body, record.signed(ANNA, NETWORK).signature),
        ("authority", KEYS["authority"], act, KEYS["authority"].sign(compute_act_digest(NETWORK, act))),
        ("application", ANNA, application.statement, application.key_proof),
        ("application", tls_key, application.statement, application.tls_key_proof),
    )
    return [
        {
            "purpose": purpose,
            "scope": NETWORK.hex(),
            "public_key": key.public_key.hex(),
            "payload": show(payload),
            "signature": signature.hex(),
        }
        for purpose, key, payload, signature in rows
    ]


def make_vectors() -> dict[str, Any]:
    return {
        "keys": make_keys(),
        "refused_keys": make_refused_keys(),
        "refused_signatures": make_refused_signatures(),
        "encodings": make_encodings(),
        "refused_encodings": make_refused_encodings(),
        "transactions": make_transactions(),
        "coins": [make_coin()],
        "mergers": [make_merger()],
        "states": [make_state_proofs()],
        "trade_results": [make_trade_result()],
        "twice_traded": [make_twice_traded()],
        "blocks": [make_block()],
        "votes": [make_vote()],
        "certificates": [make_certificate()],
        "ballots": make_ballots(),
        "messages": make_messages(),
        "batches": [make_batch()],
        "signed": make_signed(),
    }


def render() -> str:
    return json.dumps(make_vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(render(), end="")
