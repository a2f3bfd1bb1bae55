"""`gridmerit authority`: the keys that admit and revoke members, and what they sign."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from gridmerit.commands import Group
from gridmerit.commands.acts import (
    Brought,
    Outcome,
    authority_option,
    find_authority,
    open_chains,
    resolve_sponsor,
    sign_and_submit,
    submit_acts,
)
from gridmerit.commands.acts_tables import (
    describe_kept,
    describe_outcomes,
    describe_signed,
    render_act,
    render_brought,
    render_outcomes,
)
from gridmerit.commands.hosted import connect_to, connect_to_any
from gridmerit.commands.open_periods import find_session, session_option
from gridmerit.commands.target import Target, key_options, load_key_file, node_options, run_async
from gridmerit.network.enrolment import (
    Act,
    check_signatures,
    init_authority,
    load_act,
    load_authority,
    make_countersignature,
    make_upgrade,
    save_act,
    sign_act,
)
from gridmerit.output import emit, json_option, to_json
from gridmerit.tables import facts
from gridmerit.text import quote_path
from ledger.errors import InvalidKey, WrongChain
from ledger.signatures import SigningKey, check_public_key
from ledger.upgrades import MAX_HEIGHT, MAX_RULES
from market.errors import WrongTradeList
from market.trading.matching_weight import WeightInputs
from market.trading.sessions import get_gate_number
from market.trading.trades import Match, Party, TradeRecord, compute_result_root
from node.queries.answers import ContributionsInfo, PartyInfo, TradeInfo, TradesInfo
from node.system.clock import now_ms

_FILE = click.Path(path_type=Path, dir_okay=False)
_MAX_KEYS = 64


@click.group("authority", cls=Group)
def command() -> None:
    """The network's authority: its keys, and what they sign.

    The authority admits, revokes and renews members, countersigns trades where a market asks for it, announces new
    rules, and nothing else: its keys send no transaction, seal no block and move no money. Which keys count, and how
    many of them must sign, stands in the genesis and never changes. The network runs on without it; only admissions
    wait.

    `gridmerit net new` makes an authority of one key. `gridmerit member` uses it.
    """


@command.command("init")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--keys", type=click.IntRange(1, _MAX_KEYS), default=1, show_default=True, help="How many to make.")
@click.option("--threshold", type=click.IntRange(min=1), help="How many must sign.  [default: all of them]")
@click.option("--with", "others", multiple=True, metavar="PUBLIC_KEY", help="A key kept elsewhere; repeat for each.")
@json_option
def init(directory: Path, keys: int, threshold: int | None, others: tuple[str, ...]) -> None:
    """Make an authority: keys that sign, and what issues certificates.

    DIRECTORY gets `key-1.pem` and so on, `ca-key.pem`, all encrypted and for their owner alone, `ca.pem`, which every
    node needs, and their `passphrase`: move that elsewhere. The `authority` printed belongs into the genesis.

    Where several people must sign, each makes a key with `gridmerit key new` and tells its public key: --with names it.

    \b
    Examples:
      gridmerit authority init authority
      gridmerit authority init authority --keys 1 --with d75a98… --with 3d4017… --threshold 2
    """
    foreign = [_parse_key(text) for text in others]
    count = keys + len(foreign)
    if threshold is not None and threshold > count:
        raise click.UsageError(f"--threshold {threshold}: there are only {count} keys")
    if count > _MAX_KEYS:
        raise click.UsageError(f"an authority has at most {_MAX_KEYS} keys, these are {count}")
    files = init_authority(directory, keys=keys, now_ms=now_ms())
    public = ["0x" + key.hex() for key in (*(key.public_key for key in files.keys), *foreign)]
    section = {"threshold": count if threshold is None else threshold, "keys": public}
    lines = [
        facts([("authority", directory), ("keys", count), ("must sign", section["threshold"])]),
        "",
        "for the genesis:",
        "",
        f'"authority": {to_json(section)}',
    ]
    emit({"directory": str(directory), "ca": str(directory / "ca.pem"), "authority": section}, "\n".join(lines))


def _parse_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
        check_public_key(key)
    except (ValueError, InvalidKey) as error:
        raise click.UsageError(
            f"--with {text[:70]!r}: want a public key, as `gridmerit key show` prints it: {error}"
        ) from None
    return key


@command.command("sign")
@click.argument("file", type=_FILE)
@click.option("--key", "key_file", type=_FILE, required=True, help="A key file of the authority.")
@click.option("--passphrase-file", type=_FILE, help="[default: `passphrase` beside the key]")
@json_option
def sign(file: Path, key_file: Path, passphrase_file: Path | None) -> None:
    """Add one more signature to an act, where several must sign.

    FILE is what `gridmerit member admit`, `renew` or `revoke` has left for others to sign. What it says is printed from
    the signed bytes themselves. The signature is written into FILE.

    \b
    Example:
      gridmerit authority sign authority/acts/admit-homes-9-5021.json --key mine/key.pem
    """
    act = load_act(file)
    key = load_key_file(key_file, passphrase_file)
    signed = sign_act(act, key)
    save_act(file, signed)
    lines = [
        render_act(signed),
        "",
        f"next: gridmerit authority submit {quote_path(file)} --node DIR, or one more signature",
    ]
    emit({"file": str(file), **describe_signed(signed)}, "\n".join(lines))


@command.command("show")
@click.argument("file", type=_FILE)
@json_option
def show(file: Path) -> None:
    """Show what an act says, and which keys have signed it.

    \b
    Example:
      gridmerit authority show authority/acts/admit-homes-9-5021.json
    """
    act = load_act(file)
    emit({"file": str(file), **describe_signed(act)}, render_act(act))


@command.command("submit")
@click.argument("file", type=_FILE)
@key_options
@node_options
@json_option
def submit(file: Path, key: str | None, passphrase_file: Path | None, target: Target) -> None:
    """Bring an act that enough keys have signed to every chain that it is for and the node hosts.

    A chain that has it already is left alone, so it may be brought again, also by another node. --key says which member
    sends it; that adds nothing to what the authority has signed.

    \b
    Example:
      gridmerit authority submit authority/acts/admit-homes-9-5021.json --node mynet
    """
    act, sponsor = load_act(file), resolve_sponsor(target, key, passphrase_file)

    outcomes, missing = run_async(submit_act(target, act, sponsor))
    document = {"file": str(file), "chains": describe_outcomes(outcomes), "missing": list(missing)}
    emit(document, render_outcomes(outcomes, missing))


async def submit_act(target: Target, act: Act, sponsor: SigningKey) -> tuple[list[Outcome], tuple[str, ...]]:
    """Bring a signed act to its chains: what became of it, and where it has not been.

    Raises `WrongChain`, what `check_signatures` and what `submit_acts` raise.
    """
    async with open_chains(target) as chains:
        if chains.genesis.network_id != act.network:
            network = chains.genesis.network_id.hex()[:16]
            raise WrongChain(actual=f"network {act.network.hex()[:16]}", expected=f"network {network}")
        check_signatures(act, chains.genesis.authority)
        return await submit_acts(chains, dict.fromkeys(chains.choose(act), act), sponsor), chains.lacks(act)


@command.command("countersign")
@click.argument("period", type=click.IntRange(min=0))
@session_option
@authority_option
@key_options
@node_options
@json_option
def countersign(
    period: int,
    session: str | None,
    authority: Path | None,
    key: str | None,
    passphrase_file: Path | None,
    target: Target,
) -> None:
    """Countersign the trades of a period, on a chain that asks for an audit.

    They bind only where this comes in time, between the gate and the start of delivery. What is signed is computed
    from the trades that the node lists: look at them with `gridmerit market trades` before.

    \b
    Example:
      gridmerit authority countersign 118 --node mynet
    """
    directory, sponsor = find_authority(target, authority), resolve_sponsor(target, key, passphrase_file)

    chain, brought = run_async(countersign_trades(target, period, directory, sponsor, session))
    emit(describe_kept(chain, brought), render_brought(brought))


async def countersign_trades(
    target: Target, period: int, authority: Path, sponsor: SigningKey, session: str | None = None
) -> tuple[str, Brought]:
    """The trading chain's name, and what became of the countersignature. Raises `WrongTradeList`, too."""
    async with connect_to(target, "trading") as market:
        chosen = await find_session(market, session)
        chain, found = market.chain, await market.trades(period, chosen)
    async with open_chains(replace(target, chain=chain)) as chains:
        genesis = chains.genesis
        gate = get_gate_number(genesis.params.market, period, chosen)
        root = check_root(found, gate)
        act = make_countersignature(genesis.network_id, genesis.chain_id_of(chain), gate, root)
        return chain, await sign_and_submit(chains, {chain: act}, load_authority(authority), chain, sponsor)


@command.command("upgrade")
@click.argument("rules", type=click.IntRange(1, MAX_RULES))
@click.argument("height", type=click.IntRange(1, MAX_HEIGHT))
@authority_option
@key_options
@node_options
@json_option
def upgrade(
    rules: int,
    height: int,
    authority: Path | None,
    key: str | None,
    passphrase_file: Path | None,
    target: Target,
) -> None:
    """Announce a chain's next rules, and the height from which they hold.

    RULES is the next version of them, HEIGHT at least 16 blocks ahead. Every node needs a release that knows them by
    then: one that does not stops right before that block, and goes on answering what it is asked. Announce it again
    with a greater HEIGHT to put it off. Each chain has heights of its own, so --chain names one.

    \b
    Example:
      gridmerit authority upgrade 2 90000 --chain jy1 --node mynet
    """
    directory, sponsor = find_authority(target, authority), resolve_sponsor(target, key, passphrase_file)

    chain, brought = run_async(announce_rules(target, rules, height, directory, sponsor))
    emit(describe_kept(chain, brought), render_brought(brought))


async def announce_rules(
    target: Target, rules: int, height: int, authority: Path, sponsor: SigningKey
) -> tuple[str, Brought]:
    """The chain's name, and what became of the announcement. Raises `AmbiguousChain`, too."""
    async with connect_to_any(target) as client:
        chain = client.chain
    async with open_chains(replace(target, chain=chain)) as chains:
        genesis = chains.genesis
        act = make_upgrade(genesis.network_id, genesis.chain_id_of(chain), rules, height)
        return chain, await sign_and_submit(chains, {chain: act}, load_authority(authority), chain, sponsor)


def check_root(found: TradesInfo, gate: int) -> bytes:
    """The root of the trades that a node lists, of the gate with this number.

    Raises `WrongTradeList` where the node says another.
    """

    def read_party(party: PartyInfo, contributions: ContributionsInfo) -> Party:
        parameters = WeightInputs(**asdict(contributions))
        return Party(party.order_id, party.node_type, party.credit_upt, party.position, parameters)

    def read(trade: TradeInfo) -> TradeRecord:
        buyer, seller = (bytes.fromhex(address.removeprefix("0x")) for address in (trade.buyer, trade.seller))
        match = Match(read_party(trade.bid, trade.weights.bid), read_party(trade.offer, trade.weights.offer))
        price_uyuan, volume_wh = trade.price_uyuan_per_kwh, trade.volume_wh
        return TradeRecord(gate, trade.index, buyer, seller, price_uyuan, volume_wh, match)

    root = compute_result_root([read(trade) for trade in found.trades])
    if root.hex() != found.gate.result_root:
        raise WrongTradeList(period=found.period, expected=root.hex()[:16], actual=found.gate.result_root[:16])
    return root
