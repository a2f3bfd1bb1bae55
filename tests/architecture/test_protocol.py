"""`docs/protocol.md` says what the code does: its tables are compared with messages, errors, kinds, rows and tags."""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import get_args

import pytest

import market.messages
from consensus.contracts import _RETAINED_OFFENCES
from consensus.pbft.messages import MAX_MESSAGE_BYTES, decode_message
from consensus.pbft.watermarks import HEIGHTS_AHEAD
from consensus.quorum import QuorumCertificate, read_vote
from ledger.block import MAX_HEADER_BYTES, read_header
from ledger.codec import MAX_DEPTH, MAX_ITEMS, encode
from ledger.errors import GridmeritError, TooLarge
from ledger.inbox import REMEMBERED
from ledger.journal import BURIED_DEPTH
from ledger.outbox import MAX_PARTS, OFFENCE, RETAINED, ROWS_PER_PART
from ledger.params import Kind
from ledger.results import MAX_RESULTS
from ledger.sealers import SEALERS
from market.messages import SECOND_TARGET
from node.chain import messages as wire
from node.chain.contracts import routes_of
from node.chain.state_kinds import KINDS
from node.driver.event_queue import MAX_PEER_BATCHES, MAX_PEER_BYTES
from node.peer import server
from node.peer.records import PeerRecord
from node.peer.reputation import BAN_POINTS, DECAY_MS_PER_POINT, PeerLimits

from .test_imports import FLOORS, ROOT, read_modules

TEXT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
ON_ONE_LINE = " ".join(TEXT.split())
MESSAGES = {message.__name__: message for message in get_args(wire.Message)}
MEMBERS_FLOORS = ("ledger", "consensus", "market")
HASH = bytes(32)


# --- reading the page and the code -----------------------------------------------------------------


def table(first: str, *others: str) -> list[list[str]]:
    """The cells of the one table that has these heads, `others` among them."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines())
        if head[0] == first and set(others) <= set(head):
            assert {len(row) for row in rows} == {len(head)}, head
            found.append(rows)
    assert len(found) == 1, f"{len(found)} tables begin with {first}"
    return found[0]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_number(cell: str) -> int:
    """1 024 of "1 024 each"."""
    return int(re.match(r"\d+(?: \d{3})*", cell)[0].replace(" ", ""))


def show(number: int) -> str:
    return f"{number:,}".replace(",", " ")


@cache
def read_trees() -> list[tuple[str, str, ast.Module]]:
    """(module, file, what is in it) of all the code: read once, for most tests look at all of it."""
    files = read_modules(ROOT).items()
    return [(name, str(path.relative_to(ROOT)), ast.parse(path.read_text())) for name, path in files]


def parse(floors: tuple[str, ...]) -> Iterator[tuple[str, ast.Module]]:
    yield from ((file, tree) for name, file, tree in read_trees() if name.split(".")[0] in floors)


def module_constants(floors: tuple[str, ...], kind: type) -> Iterator[tuple[str, str, object]]:
    """(file, name, value) of every constant assigned at the top of a module, alone or in a row of several."""
    for file, tree in parse(floors):
        for statement in tree.body:
            if not isinstance(statement, ast.Assign):
                continue
            left, right = statement.targets[0], statement.value
            is_row = isinstance(left, ast.Tuple) and isinstance(right, ast.Tuple)
            for target, value in zip(left.elts, right.elts, strict=True) if is_row else [(left, right)]:
                if isinstance(value, ast.Constant) and type(value.value) is kind:
                    yield file, ast.unparse(target), value.value


def constant(name: str) -> int:
    """The integer of that name in the node's core, wherever it stands there."""
    (value,) = {value for file, known, value in module_constants(("node",), int) if known == name and "/chain/" in file}
    return value


def all_errors() -> dict[str, type[GridmeritError]]:
    modules = [importlib.import_module(f"{floor}.errors") for floor in FLOORS]
    return {
        name: kind
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, GridmeritError)
    }


# --- messages between peers ------------------------------------------------------------------------

PEERS = table("message", "code", "what answers it", "misuse costs")
ITEMS = {
    "TransactionIds": lambda count: wire.TransactionIds(ids=(HASH,) * count),
    "GetTransactions": lambda count: wire.GetTransactions(ids=(HASH,) * count),
    "Transactions": lambda count: wire.Transactions(raw=(b"",) * count),
    "NewBlock": lambda count: wire.NewBlock(header=b"", ids=(HASH,) * count),
    "GetHeaders": lambda count: wire.GetHeaders(locator=(HASH,) * count),
    "Headers": lambda count: wire.Headers(raw=(b"",) * count),
    "GetBlocks": lambda count: wire.GetBlocks(ids=(HASH,) * count),
    "Blocks": lambda count: wire.Blocks(raw=(b"",) * count),
    "Votes": lambda count: wire.Votes(raw=(b"",) * count),
    "Contacts": lambda count: wire.Contacts(raw=(b"",) * count),
    "Signed": lambda count: wire.Signed(head=HASH, work=bytes(40), final_height=0, raw=(b"",) * count),
    "TradeResult": lambda count: wire.TradeResult(results=b"", raw=(b"",) * count),
    "GetTradeRecords": lambda count: wire.GetTradeRecords(period=0, indexes=(0,) * count),
    "TradeRecords": lambda count: wire.TradeRecords(
        period=0, certificate=b"", results=b"", records=((b"", ()),) * count
    ),
    "Snapshot": lambda count: wire.Snapshot(headers=(b"",) * count, certificate=b"", work=bytes(40)),
    "Ancestors": lambda count: wire.Ancestors(raw=(b"",) * count),
    "Bodies": lambda count: wire.Bodies(raw=(b"",) * count),
}
BYTES = {
    "Status": lambda size: wire.message_from_bytes(bytes([wire.Status.code]) + bytes(size)),
    "NewBlock": lambda size: read_header(bytes(size)),
    "Headers": lambda size: carry(wire.Headers(raw=(), certificate=bytes(size))),
    "Votes": lambda size: read_vote(bytes(size)),
    "Certificate": lambda size: QuorumCertificate.from_bytes(bytes(size)),
    "Evidence": lambda size: wire.message_from_bytes(bytes([wire.Evidence.code]) + bytes(size)),
    "Agreement": lambda size: decode_message(bytes(size)),
    "Contacts": lambda size: PeerRecord.from_bytes(bytes(size)),
    "Signed": lambda size: wire.message_from_bytes(bytes([wire.Signed.code]) + encode((bytes(size), b"\x90"))),
    "TradeResult": lambda size: carry(wire.TradeResult(results=bytes(size), raw=())),
    "GetTradeRecords": lambda size: wire.message_from_bytes(bytes([wire.GetTradeRecords.code]) + bytes(size)),
    "TradeRecords": lambda size: wire.message_from_bytes(bytes([wire.TradeRecords.code]) + bytes(size)),
    "GetSnapshot": lambda size: wire.message_from_bytes(bytes([wire.GetSnapshot.code]) + bytes(size)),
    "Snapshot": lambda size: carry(wire.Snapshot(headers=(), certificate=bytes(size), work=bytes(40))),
    "GetChunk": lambda size: wire.message_from_bytes(bytes([wire.GetChunk.code]) + bytes(size)),
    "Chunk": lambda size: carry(wire.Chunk(block_hash=HASH, raw=bytes(size))),
}
OF_THE_CHAIN = ("Transactions", "Blocks")  # whose bytes the genesis bounds
LONE = ("Certificate", "Evidence", "Relay", "Agreement")


def carry(message):
    return wire.message_from_bytes(wire.message_to_bytes(message))


def is_too_large(act, size):
    """True where that many bytes or items, and not what they are, is refused."""
    try:
        act(size)
    except TooLarge as error:
        return error.values["actual"] == size
    except GridmeritError:
        return False
    return False


def cell(message: str, column: int) -> str:
    (row,) = (row for row in PEERS if names(row[0]) == [message])
    return row[column]


def test_every_message_between_peers_has_its_row_and_its_code():
    assert [(*names(row[0]), int(row[1])) for row in PEERS] == [
        (name, message.code) for name, message in MESSAGES.items()
    ]


def test_every_message_has_its_body_on_the_page():
    """With as many fields as it has on the wire; a list of any length says so by its dots."""
    bodies = {name: names(row[1])[0] for row in table("messages", "body") for name in names(row[0])}
    assert bodies.keys() == MESSAGES.keys()
    vectors = json.loads((ROOT / "docs" / "vectors.json").read_text(encoding="utf-8"))["messages"]
    assert [vector["code"] for vector in vectors] == [message.code for message in MESSAGES.values()]
    for name, vector in zip(MESSAGES, vectors, strict=True):
        fields = bodies[name][1:-1]
        while (flat := re.sub(r"\[[^\[\]]*\]", "", fields)) != fields:
            fields = flat
        if not fields.endswith("…"):
            assert len(list(filter(None, fields.split(",")))) == len(vector["body"]), name


def test_what_answers_a_message_is_a_message():
    for row in PEERS:
        assert set(names(row[5])) <= MESSAGES.keys(), row[0]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_holds_as_many_items_as_the_page_says_and_no_more(message):
    said = cell(message, 6)
    if message not in ITEMS:
        assert said == ("1" if message in LONE else "0" if message == "GetSigned" else "")
        return
    limit = first_number(said)
    carry(ITEMS[message](limit))
    assert is_too_large(lambda count: carry(ITEMS[message](count)), limit + 1)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_has_as_many_bytes_as_the_page_says_and_no_more(message):
    said = cell(message, 7)
    if message in BYTES:
        assert not is_too_large(BYTES[message], first_number(said))
        assert is_too_large(BYTES[message], first_number(said) + 1)
    elif message == "Relay":
        assert first_number(said) == constant("_MAX_RELAY_BYTES")
    else:
        assert said.startswith("the chain's `max_") if message in OF_THE_CHAIN else said == ""


def test_bounds_in_words_are_those_of_the_code():
    limits = PeerLimits()
    for words in (
        f"arrays nest {MAX_DEPTH} deep",
        f"{show(MAX_ITEMS)} items",
        f"{show(wire.MAX_BATCH_BYTES)} bytes and {wire.MAX_BATCH_MESSAGES} messages in a batch",
        f"of one peer {show(limits.bytes_per_s)} bytes and {show(limits.messages_per_s)} messages a second",
        f"and {show(limits.burst_messages)} messages, at once",
        f"{server._MAX_READING_BYTES // wire.MAX_BATCH_BYTES} batches of full size being received at a time",
        f"{server._MAX_REMOTE_BYTES // wire.MAX_BATCH_BYTES} of them from one host",
        f"{MAX_PEER_BATCHES} batches and {show(MAX_PEER_BYTES)} bytes of one peer waiting",
        f"decay by one in {DECAY_MS_PER_POINT // 1_000} s; at {BAN_POINTS} the peer is banned",
        f"{constant('SHARE_US_PER_S') // 1_000} ms of a chain's time each second",
        f"{constant('BURST_US') // 1_000} ms at once",
        f"a body has {server._READ_TIMEOUT_MS // 1_000} s",
        f"first to speak of {show(constant('_MAX_TRANSACTIONS_PER_PEER'))} at most",
        f"{constant('PASS_ON_AFTER_MS')} ms after they came",
        f"as many as {constant('_MAX_REPLY_BYTES') // 1_000_000} MB hold",
        f"{show(constant('MAX_SKELETON'))} headers ahead",
        f"the proof {show(4 * MAX_HEADER_BYTES)}",
        f"{MAX_RESULTS} of them",
        f"each of {'two' if HEIGHTS_AHEAD == 2 else HEIGHTS_AHEAD} heights ahead",
        f"up to {ROWS_PER_PART} rows, messages up to {show(MAX_PARTS)} parts",
        f"the newest {RETAINED} numbers",
        f"inbox remembers {REMEMBERED}",
        f"{BURIED_DEPTH} blocks are on top",
        f"{show(constant('MAX_ENDINGS'))} are newer",
        f"{constant('_MAX_PROPOSALS')} others are newer",
        f"{wire.MAX_OFFERED_HEADERS} headers, {wire.MAX_HANDOVERS} handovers",
        f"{show(constant('MAX_WANTED'))} chunks wanted",
    ):
        assert words in ON_ONE_LINE, words
    assert cell("Agreement", 7) == show(MAX_MESSAGE_BYTES)


def test_a_batch_is_refused_with_the_status_that_the_page_says():
    said = {error: int(row[0]) for row in table("status", "error") for error in names(row[1])}
    assert said == {error.__name__: status for error, status in server._STATUS}


# --- what misuse costs -------------------------------------------------------------------------------


def test_misuse_costs_the_points_that_the_page_says():
    errors, said = all_errors(), [pair for row in PEERS for pair in re.findall(r"`(\w+)` (\d+)", row[9])]
    assert len(said) > 40
    for name, points in said:
        assert errors[name].penalty == int(points), name
    for name in re.findall(r"the `(\w+)` family 100", TEXT):
        assert errors[name].penalty == 100


def test_every_penalty_that_is_not_the_familys_is_on_the_page():
    own = {
        name: kind.penalty
        for name, kind in all_errors().items()
        if kind is not GridmeritError and kind.penalty != kind.__base__.penalty
    }
    assert {names(row[0])[0]: int(row[1]) for row in table("error", "points")} == own


# --- messages between chains -------------------------------------------------------------------------

CHAINS = table("kind", "from", "to", "rows")


def test_every_message_between_chains_has_its_row():
    kinds = get_args(Kind)
    said = set()
    for row in CHAINS:
        sources = row[1].split(", ")
        for source in sources:
            others = [kind for kind in kinds if kind != source]
            takers = others if row[2] == "every other" else row[2].split(", ")
            said |= {(source, names(row[0])[0], to) for to in takers}
    assert said == {(source, kind, to) for to in kinds for source, kind in routes_of(to)}


def test_each_kind_has_one_name():
    """Those of the market stand in one module, and nobody spells one out who sends it or takes it in."""
    spelt = {value for name, value in vars(market.messages).items() if name.isupper()}
    assert [names(row[0])[0] for row in CHAINS][:2] == [SEALERS, OFFENCE]
    assert {names(row[0])[0] for row in CHAINS[2:]} == spelt
    for file, tree in parse(MEMBERS_FLOORS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("post", "withdraw"):
                assert not isinstance(node.args[1], ast.Constant), f"{file}:{node.lineno}"
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_routes"):
                keys = [key for item in ast.walk(node) if isinstance(item, ast.Dict) for key in item.keys]
                assert all(isinstance(key.elts[1], ast.Name) for key in keys if isinstance(key, ast.Tuple)), file


def test_the_outbox_keeps_as_many_as_the_page_says():
    kept = {names(row[0])[0]: row[6] for row in CHAINS}
    assert (kept.pop(OFFENCE), kept.pop(SECOND_TARGET)) == (str(_RETAINED_OFFENCES), str(REMEMBERED))
    assert {value for value in kept.values() if value.isdigit()} == {str(RETAINED)}


# --- rows and keys -------------------------------------------------------------------------------------


def test_every_row_of_the_store_is_on_the_page_and_no_two_share_a_prefix():
    said = [names(row[0])[0] for row in table("prefix", "value", "deleted")]
    found = [
        (file, name, value.decode())
        for file, name, value in module_constants(("ledger", "consensus", "market", "node"), bytes)
        if len(value) == 1 and value.isalpha()
    ]
    assert sorted(said) == sorted(value for _, _, value in found)
    assert len(set(said)) == len(said), found


def test_a_chains_rows_are_of_those_prefixes(lab):
    lab.extend(lab.transfer("anna", "bert", 1))
    said = {names(row[0])[0] for row in table("prefix", "value")}
    assert {"G", "H", "b", "s", "t"} <= {key[:1].decode() for key, _ in lab.store.scan(b"")} <= said


NO_KEYS = {"_DISPOSABLE", "_COUNTERSIGNED"}  # a mark in a genesis, the end of a gate's key


def test_every_key_of_the_state_is_on_the_page_with_its_owner():
    said = {(names(row[0])[0], names(row[3])[0]) for row in table("key", "goes on with", "owner")}
    found = {
        (value.decode(), file)
        for file, name, value in module_constants(MEMBERS_FLOORS, bytes)
        if len(value) > 1 and value.isascii() and name not in NO_KEYS
    }
    assert said == found


def test_the_page_has_the_table_that_a_state_is_counted_by():
    rows = table("key", "goes on with", "owner")
    said = [(names(row[0])[0], row[1], row[2], names(row[3])[0], *row[4:]) for row in rows]
    assert said == [tuple(kind) for kind in KINDS]


def test_no_key_of_the_state_is_the_beginning_of_another():
    """A key that goes on ends in a slash, and nothing else begins with it: so no two contracts write the same key."""
    rows = table("key", "goes on with", "owner")
    keys = [names(row[0])[0] for row in rows]
    assert len(set(keys)) == len(keys)
    assert [row[0] for row in rows if names(row[0])[0].endswith("/") != bool(row[1])] == []
    for key in keys:
        if key.endswith("/"):
            assert [other for other in keys if other != key and other.startswith(key)] == []


# --- what is signed ------------------------------------------------------------------------------------


def calls_of(function: str) -> Iterator[ast.Call]:
    for _, tree in parse(tuple(FLOORS)):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
                yield node


def test_every_purpose_of_a_signature_is_on_the_page():
    said = [names(row[0])[0] for row in table("purpose", "scope", "payload")]
    assert len(set(said)) == len(said)
    assert set(said) == {call.args[0].value for call in calls_of("signing_digest")}


def test_every_tag_is_on_the_page():
    tags = {value for _, _, value in module_constants(tuple(FLOORS), str) if value.startswith("gridmerit/")}
    direct = {call.args[0].value for call in calls_of("tagged_hash") if isinstance(call.args[0], ast.Constant)}
    said = [names(row[0])[0] for row in table("tag", "hashed", "gives")]
    assert len(set(said)) == len(said)
    assert set(said) == tags | direct
