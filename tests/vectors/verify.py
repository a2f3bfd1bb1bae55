"""Checks `docs/vectors.json` by `docs/protocol.md` alone, without our packages: `python tests/vectors/verify.py FILE`.

Whoever writes this protocol in another language can begin here.
"""

import functools
import hashlib
import json
import sys
from decimal import Context, Decimal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826  # of the points of order 8
SMALL_ORDER = {(y | sign << 255).to_bytes(32, "little") for y in (0, 1, P - 1, Y8, P - Y8) for sign in (0, 1)}
D = -121665 * pow(121666, -1, P) % P  # of the curve
MAX_DEPTH = 8
KEYS = {}  # private ones, by public key

hexed = bytes.fromhex


class Wrong(Exception):
    """A vector that is not what the protocol says."""


def same(have, want):
    if have != want or type(have) is not type(want):
        raise Wrong(f"{have!r} is not {want!r}")


# --- hashes and trees --------------------------------------------------------------------------------------


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def tagged(tag, *parts):
    head = sha(tag.encode())
    return sha(head, head, *parts)


def leaf(data):
    return sha(b"\0", data)


def node(left, right):
    return sha(b"\1", left, right)


def split(count):
    return 1 << (count - 1).bit_length() - 1


def merkle_root(leaves):  # RFC 6962
    if len(leaves) < 2:
        return leaf(leaves[0]) if leaves else sha()
    return node(merkle_root(leaves[: split(len(leaves))]), merkle_root(leaves[split(len(leaves)) :]))


def climb(computed, index, count, path):  # RFC 6962; in a path the sibling nearest the leaf comes first
    if count == 1:
        same(path, [])
        return computed
    (*below, top), middle = path, split(count)
    if index < middle:
        return node(climb(computed, index, middle, below), top)
    return node(top, climb(computed, index - middle, count - middle, below))


def bit(path, depth):
    return path[depth // 8] >> (7 - depth % 8) & 1


def top(path, depth):
    return int.from_bytes(path, "big") >> 256 - depth


def state_root(leaves, depth=0):  # of pairs of path and hash
    if len(leaves) < 2:
        return leaves[0][1] if leaves else bytes(32)
    return node(*(state_root([one for one in leaves if bit(one[0], depth) == side], depth + 1) for side in (0, 1)))


# --- canonical bytes: of msgpack the shortest forms of integers, bytes, text, nil and arrays ------------------


def head(count, short, limit, first):
    """The head of an array, text or byte string: `limit` items fit into the first byte; after `first` come others."""
    if count < limit:
        return bytes([short + count])
    width = next(width for width in (0, 1, 2) if count < 1 << (8 << width) and first[width])
    return bytes([first[width]]) + count.to_bytes(1 << width, "big")


def encode(value):
    match value:
        case None:
            return b"\xc0"
        case bytes():
            return head(len(value), 0, 0, (0xC4, 0xC5, 0xC6)) + value
        case str():
            return head(len(value.encode()), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + value.encode()
        case list():
            return head(len(value), 0x90, 16, (0, 0xDC, 0xDD)) + b"".join(map(encode, value))
    if -32 <= value < 128:
        return bytes([value & 0xFF])
    room, first = (value, 0xCC) if value >= 0 else (2 * ~value, 0xD0)
    width = next(width for width in (0, 1, 2, 3) if room < 1 << (8 << width))
    return bytes([first + width]) + value.to_bytes(1 << width, "big", signed=value < 0)


FORMS = {0xC4 + i: (bytes, 1 << i) for i in (0, 1, 2)} | {0xD9 + i: (str, 1 << i) for i in (0, 1, 2)}
FORMS |= {0xDB + i: (list, 1 << i) for i in (1, 2)} | {at + i: (int, 1 << i) for at in (0xCC, 0xD0) for i in range(4)}


def take(data, at, count):
    if at + count > len(data):
        raise Wrong("cut off")
    return data[at : at + count]


def read(data, at, depth):
    """The value that begins at a place, and where it ends."""
    (first,) = take(data, at, 1)
    if first < 0x80 or first >= 0xE0:
        return first if first < 0x80 else first - 256, at + 1
    if first == 0xC0:
        return None, at + 1
    if 0x90 <= first < 0xC0:
        kind, width, count = (list, 0, first & 0x0F) if first < 0xA0 else (str, 0, first & 0x1F)
    elif first in FORMS:
        kind, width = FORMS[first]
        count = int.from_bytes(take(data, at + 1, width), "big", signed=0xD0 <= first <= 0xD3)
    else:
        raise Wrong("not allowed")
    at += 1 + width
    if kind is int:
        return count, at
    if kind is list:
        if depth == MAX_DEPTH:
            raise Wrong("too deep")
        items = []
        for _ in range(count):
            item, at = read(data, at, depth + 1)
            items.append(item)
        return items, at
    raw = take(data, at, count)
    try:
        return raw if kind is bytes else raw.decode(), at + count
    except UnicodeDecodeError:
        raise Wrong("not UTF-8") from None


def decode(data):
    value, end = read(data, 0, 0)
    if end < len(data):
        raise Wrong("left over")
    if encode(value) != data:
        raise Wrong("not the shortest form")
    return value


def plain(shown):
    """A value as it stands in JSON: see `make.py`."""
    if isinstance(shown, list):
        return [plain(item) for item in shown]
    if isinstance(shown, dict):
        return hexed(shown["bytes"]) if "bytes" in shown else int(shown["int"])
    return shown


# --- signatures ----------------------------------------------------------------------------------------------


def is_weak(point):
    return point in SMALL_ORDER or int.from_bytes(point, "little") % 2**255 >= P


def number(raw):
    return int.from_bytes(raw, "little")


def point_of(raw):  # RFC 8032, section 5.1.3; None where no point has these bytes
    y = number(raw) % 2**255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P == square:
        return (x if x % 2 == raw[31] >> 7 else -x % P), y
    return None


def add(one, other):
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


@functools.cache
def is_of_the_group(key):  # the subgroup of prime order L
    point, total = point_of(key), (0, 1)
    if point is None:
        return False
    for place in reversed(range(L.bit_length())):
        total = add(total, total)
        if L >> place & 1:
            total = add(total, point)
    return total == (0, 1)


def accepts(key, digest, signature):
    if is_weak(key) or is_weak(signature[:32]) or number(signature[32:]) >= L or not is_of_the_group(key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, digest)
    except InvalidSignature:
        return False
    return True


def check_signed(key, purpose, scope, payload, signature):
    """The digest that was signed; Ed25519 is deterministic, so the same key makes the same signature."""
    digest = tagged("gridmerit/sign/" + purpose, scope, payload)
    same(accepts(key, digest, signature), True)
    same(KEYS[key].sign(digest), signature)
    return digest


# --- the sections of the file --------------------------------------------------------------------------------


def check_key(it):
    private = Ed25519PrivateKey.from_private_bytes(hexed(it["seed"]))
    key = private.public_key().public_bytes_raw()
    same(key.hex(), it["public_key"])
    same(tagged("gridmerit/address", key)[:20].hex(), it["address"])
    same("0x" + it["address"], it["shown"])
    KEYS[key] = private


def check_refused_key(it):
    same(is_weak(hexed(it)), True)


def check_refused_signature(it):
    """A signature that some libraries accept: made as its reason says, so that nothing else is wrong with it."""
    signer, key, digest, bad = (hexed(it[name]) for name in ("signer", "public_key", "digest", "refused"))
    same(accepts(key, digest, bad), False)
    hashed = hashlib.sha512(KEYS[signer].private_bytes_raw()).digest()
    secret = number(hashed[:32]) & (1 << 254) - 8 | 1 << 254
    nonce = number(hashlib.sha512(hashed[32:] + digest).digest())
    answer = number(hashlib.sha512(bad[:32] + key + digest).digest()) % L
    own, identity = KEYS[signer].sign(digest)[:32], (1).to_bytes(32, "little")
    expected = {
        "S is not below the group order": (signer, own, (nonce + answer * secret) % L + L),
        "R is of small order": (signer, identity, answer * secret % L),
        "the key has a part of small order": (key, own, (nonce + answer * secret) % L),
    }
    same((key, bad[:32], number(bad[32:])), expected[it["reason"]])
    if key != signer:  # and for one digest in eight that part vanishes
        same(point_of(key), add(point_of(signer), point_of(Y8.to_bytes(32, "little"))))
        same(answer % 8, 0)


def check_encoding(it):
    same(encode(plain(it["value"])).hex(), it["raw"])
    same(decode(hexed(it["raw"])), plain(it["value"]))


def check_refused_encoding(it):
    try:
        decode(hexed(it["raw"]))
    except Wrong as reason:
        return same(str(reason), it["reason"])
    raise Wrong("it is not refused")


def check_transaction(it):
    value = decode(hexed(it["raw"]))
    same(value, plain(it["value"]))
    identity = tagged("gridmerit/transaction", encode(value[:7]))
    same(identity.hex(), it["id"])
    same(tagged("gridmerit/address", value[2])[:20].hex(), it["sender"])
    check_signed(value[2], "transaction", value[1], identity, value[7])


def check_coin(it):
    colour = tagged("gridmerit/credit/assessment", encode(plain(it["assessment"])))
    same(colour.hex(), it["colour"])
    code = it["sequence"] >> 6 & 0x3F
    same([it["sequence"] & 0x3F, 2**code if code else 0], [it["label"], it["padding"]])
    same(it["sequence"], it["label"] | code << 6)
    same(it["value_sat"] - it["padding"], it["coins"])
    same(it["state_key"], (b"credit/coin/" + colour + bytes(2)).hex())


def check_merger(it):
    coins, owner, colour = [plain(item) for item in it["coins"]], hexed(it["owner"]), hexed(it["colour"])
    same(coins, sorted(coins))
    same(colour, tagged("gridmerit/credit/merit", owner))
    root = merkle_root([encode(coin) for coin in coins])
    same(tagged("gridmerit/credit/merger", encode([owner, colour, len(coins), root])).hex(), it["id"])


def check_state(it):
    entries = {hexed(key): hexed(value) for key, value in it["entries"]}

    def leaf_of(path, value_hash):
        return sha(b"\0", path, value_hash)

    hashes = {tagged("gridmerit/state/path", key): tagged("gridmerit/state/value", raw) for key, raw in entries.items()}
    same(state_root([(path, leaf_of(path, value_hash)) for path, value_hash in hashes.items()]).hex(), it["root"])
    for proof in it["proofs"]:
        key = hexed(proof["key"])
        value, path = entries.get(key), tagged("gridmerit/state/path", key)
        same(proof["value"], None if value is None else value.hex())
        siblings, other = decode(hexed(proof["proof"]))
        if value is not None:
            same(other, None)
            computed = leaf_of(path, hashes[path])
        elif other is None:
            computed = bytes(32)
        else:  # the only leaf below the place where the key would be
            same([bit(path, depth) for depth in range(len(siblings))], [bit(other[0], d) for d in range(len(siblings))])
            same(path != other[0], True)
            computed = leaf_of(*other)
        for depth in reversed(range(len(siblings))):  # the first sibling is the root's child
            pair = (siblings[depth], computed) if bit(path, depth) else (computed, siblings[depth])
            computed = node(*pair)
        same(computed.hex(), it["root"])
    for raw in it["chunks"]:
        depth, first, items, (siblings, other) = decode(hexed(raw))
        below = sorted(path for path in hashes if top(path, depth) == top(first, depth))
        same([tagged("gridmerit/state/path", key) for key, _ in items], below)
        same([value for _, value in items], [entries[key] for key, _ in items])
        same(top(first, depth) << 256 - depth, int.from_bytes(first, "big"))
        if other is None:
            computed = state_root([(path, leaf_of(path, hashes[path])) for path in below], len(siblings))
        else:  # the only leaf below the place where the siblings end
            same((below, top(other[0], len(siblings))), ([], top(first, len(siblings))))
            computed = leaf_of(*other)
        for level in reversed(range(len(siblings))):
            pair = (siblings[level], computed) if bit(first, level) else (computed, siblings[level])
            computed = node(*pair)
        same(computed.hex(), it["root"])


def check_trade_result(it):
    leaves = [hexed(one) for one in it["leaves"]]
    record = decode(leaves[it["index"]])
    same(record, plain(it["record"]))
    root = merkle_root(leaves)
    same(root.hex(), it["root"])
    same(climb(leaf(encode(record)), it["index"], len(leaves), [hexed(one) for one in it["path"]]), root)
    same(record[:2], [decode(leaves[0])[0], it["index"]])
    results = hexed(it["results"])
    same(decode(results), [[record[0], len(leaves), root]])
    same(tagged("gridmerit/results", results).hex(), it["digest"])


def half_up(wh_uyuan_per_kwh):
    return (2 * wh_uyuan_per_kwh + 1_000) // 2_000


def shares(total, parts):
    """A meter's part of each delivery, in proportion, without a Wh lost."""
    reached = [total * sum(parts[:count]) // sum(parts) for count in range(len(parts) + 1)]
    return [reached[place + 1] - reached[place] for place in range(len(parts))]


def check_twice_traded(it):
    grid, trades = hexed(it["grid"]), [plain(one) for one in it["trades"]]
    metered = {owner: consumed - produced for owner, consumed, produced in map(plain, it["metered"])}
    same([len(trades), len(metered)], [len(it["sessions"]), len(it["metered"])])
    places, traded, net, columns = {}, {}, {}, {one: [0, 0] for one in (grid, *metered)}

    def pay(payer, payee, uyuan):  # income of one, cost of the other
        columns.setdefault(payee, [0, 0])[0] += uyuan
        columns.setdefault(payer, [0, 0])[1] += uyuan

    for (gate, index, buyer, seller, price, wh), session in zip(trades, it["sessions"], strict=True):
        same([gate // 2, ["day-ahead", "intraday"][gate % 2]], [it["period"], session])
        same(index, places.setdefault(gate, 0))
        places[gate] += 1
        for member, side, sign in ((buyer, 0, 1), (seller, 1, -1)):
            traded.setdefault((gate, member), [0, 0])[side] += wh
            net[member] = net.get(member, 0) + sign * wh
        received = half_up(wh * price)
        pay(buyer, seller, received)
        pay(buyer, grid, half_up(wh * (price + it["wheeling_uyuan_per_kwh"])) - received)
    positions = [
        [(b"market/position/" + gate.to_bytes(8, "big") + member).hex(), encode(wh).hex()]
        for (gate, member), wh in sorted(traded.items())
    ]
    same(positions, it["positions"])
    for member in {**net, **metered}:
        beyond = metered.get(member, max(0, net.get(member, 0))) - net.get(member, 0)
        if beyond > 0:
            pay(member, grid, half_up(beyond * it["retail_uyuan_per_kwh"]))
        else:
            pay(grid, member, half_up(-beyond * it["feed_in_uyuan_per_kwh"]))
    same([hexed(one["address"]) for one in it["accounts"]], sorted(columns))
    for one in it["accounts"]:
        income, cost = columns[hexed(one["address"])]
        same(one["founding_uyuan"], 0 if one["address"] == it["grid"] else 10_000_000_000)
        rest = [one["initial_credit_upt"], 0, 0, 0, 0, 0, 0]
        same(decode(hexed(one["raw"])), [one["founding_uyuan"] + income - cost, *rest, income, cost])

    owed = [[member, -wh] for member, wh in sorted(net.items()) if wh < 0]
    pairs = []
    for buyer, wanted in sorted(net.items()):
        while wanted > 0:
            wh = min(wanted, owed[0][1])
            pairs.append((buyer, owed[0][0], wh))
            wanted, owed[0][1] = wanted - wh, owed[0][1] - wh
            owed = owed[not owed[0][1] :]
    parts = {}
    for side, sign in ((0, 1), (1, -1)):
        for member in {pair[side] for pair in pairs}:
            own = [pair for pair in pairs if pair[side] == member]
            of_meter = shares(max(0, sign * metered.get(member, 0)), [wh for _, _, wh in own])
            parts |= {(pair, side): wh for pair, wh in zip(own, of_meter, strict=True) if member in metered}
    delivered = [[index, *pair, parts.get((pair, 0)), parts.get((pair, 1))] for index, pair in enumerate(pairs)]
    same(plain(it["delivered"]), delivered)
    found = []
    for index, _, _, agreed, *both in delivered:
        for side, wh in enumerate(both):
            excess = 0 if wh is None else (wh - agreed) * 1_000_000
            if wh is None or abs(excess) > agreed * it["tolerance_ppm"]:
                name = "missing-reading" if wh is None else "over-delivery" if excess > 0 else "under-delivery"
                found.append([index, side, name])
    same(it["violations"], found)


def check_block(it):
    (core, nonce, signature), body = block = decode(hexed(it["raw"]))
    same([encode(block[0]).hex(), encode(core).hex()], [it["header"], it["core"]])
    same([core[9].hex(), core[10].hex(), core[11].hex()], [it["tx_root"], it["receipt_root"], it["state_root"]])
    same(merkle_root([encode(one) for one in body]), core[9])
    same([tagged("gridmerit/transaction", encode(one[:7])) for one in body], [one[0] for one in plain(it["receipts"])])
    same(merkle_root([encode(one) for one in plain(it["receipts"])]), core[10])
    root = node(leaf(encode(core)), core[9])
    same([root.hex(), sha(root, nonce).hex()], [it["W"], it["hash"]])
    exact = Context(prec=200)  # Eq. (10): N_diff · e^(C/τ), rounded down
    power = exact.exp(exact.divide(Decimal(core[6]), Decimal(it["tau_upt"])))
    target = int(exact.multiply(Decimal(int.from_bytes(core[7], "big")), power))
    same(target.to_bytes(32, "big").hex(), it["target"])
    same(int.from_bytes(sha(root, nonce), "big") <= target, True)
    check_signed(core[5], "block", core[1], sha(root, nonce), signature)


def check_vote(it):
    statement, signer, signature = value = decode(hexed(it["raw"]))
    same(value, plain(it["value"]))
    same(check_signed(signer, "statement", statement[0], encode(statement), signature).hex(), it["digest"])


def check_certificate(it):
    statement, signatures = decode(hexed(it["raw"]))
    voters = [hexed(key) for key in it["voters"]]
    same([it["faulty"], it["quorum"]], [(len(voters) - 1) // 3, (len(voters) + it["faulty"]) // 2 + 1])
    same(voters, sorted(set(voters) & set(KEYS)))
    signers = [signer for signer, _ in signatures]
    same(signers, sorted(set(signers) & set(voters)))
    same(len(signers) >= it["quorum"], True)
    for signer, signature in signatures:
        check_signed(signer, "statement", statement[0], encode(statement), signature)


def check_ballot(it):
    code, (height, view, claim, *new_view, signer, signature) = decode(hexed(it["raw"]))
    same(new_view, [[]] if code == 0 else [])  # 0 a proposal of view 0, 1 a prepare, 3 a view change
    scope = hexed(it["chain_id"])
    if code == 3 and claim is not None:
        same(claim[0], height)
        for one, its in claim[3]:
            check_signed(one, "pbft-prepare", scope, encode(claim[:3]), its)
        claim = claim[1:3]
    purpose = "pbft-view-change" if code == 3 else "pbft-prepare"
    same(check_signed(signer, purpose, scope, encode([height, view, claim]), signature).hex(), it["digest"])


def check_message(it):
    same((bytes([it["code"]]) + encode(plain(it["body"]))).hex(), it["raw"])
    same(decode(hexed(it["raw"])[1:]), plain(it["body"]))


def check_batch(it):
    *signed, signature = decode(hexed(it["raw"]))
    sender, receiver, session, number, sent_ms, body = signed
    same([one.hex() for one in (sender, receiver, session)], [it[name] for name in ("sender", "receiver", "session")])
    same([number, sent_ms], [it["number"].to_bytes(8, "big"), it["sent_ms"].to_bytes(8, "big")])
    same([one.hex() for one in decode(body)], it["messages"])
    check_signed(sender, "batch", hexed(it["chain_id"]), encode(signed), signature)


def check_other(it):
    key, scope, signature = (hexed(it[name]) for name in ("public_key", "scope", "signature"))
    check_signed(key, it["purpose"], scope, encode(plain(it["payload"])), signature)


SECTIONS = {
    "keys": check_key,  # first: the others sign with them
    "refused_keys": check_refused_key,
    "refused_signatures": check_refused_signature,
    "encodings": check_encoding,
    "refused_encodings": check_refused_encoding,
    "transactions": check_transaction,
    "coins": check_coin,
    "mergers": check_merger,
    "states": check_state,
    "trade_results": check_trade_result,
    "twice_traded": check_twice_traded,
    "blocks": check_block,
    "votes": check_vote,
    "certificates": check_certificate,
    "ballots": check_ballot,
    "messages": check_message,
    "batches": check_batch,
    "signed": check_other,
}


def verify(document):
    """Raise `Wrong` unless every vector is as the protocol says; how many there are."""
    KEYS.clear()
    same(list(document), list(SECTIONS))
    for name, check in SECTIONS.items():
        for place, vector in enumerate(document[name]):
            try:
                check(vector)
            except Exception as error:
                raise Wrong(f"{name}[{place}]: {error!r}") from error
    return sum(map(len, document.values()))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(f"{verify(json.load(file))} vectors hold")
