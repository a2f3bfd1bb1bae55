"""`gridmerit member`: who the members are, and how one becomes, stays and ceases to be one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from gridmerit.amounts import parse_kwh, parse_names, parse_share
from gridmerit.commands import Group
from gridmerit.commands.acts import (
    Chains,
    Outcome,
    authority_option,
    describe_outcomes,
    find_authority,
    find_member,
    format_end,
    lacks_signatures,
    leave_for_others,
    on_every,
    open_chains,
    render_outcomes,
    resolve_sponsor,
    send_and_wait,
    sign_and_submit,
    submit_acts,
    wait_until_active,
)
from gridmerit.commands.hosted import connect_to_any
from gridmerit.commands.target import Target, key_options, node_options, resolve_key, run_async, to_plain
from gridmerit.errors import BadApplication
from gridmerit.network.enrolment import (
    APPLICATION_FILE,
    WITHOUT_TLS,
    Act,
    Application,
    AuthorityFiles,
    Terms,
    Validity,
    check_application,
    claim_application,
    compute_validity,
    draw_serial,
    hand_over,
    issue_certificate,
    load_application,
    load_authority,
    make_admission,
    make_application,
    make_renewal,
    make_revocation,
    save_application,
    sign_as_far,
    take_keys,
)
from gridmerit.network.layout import GENESIS_FILE, make_directory
from gridmerit.output import emit, json_option, note
from gridmerit.tables import facts, table
from gridmerit.text import format_kwh, format_percent
from ledger.errors import MemberLeft, MemberRevoked, NameTaken, WrongChain, WrongShape
from ledger.genesis import Genesis
from ledger.hashing import address_of, parse_address
from ledger.names import normalise_name
from node.config import load_genesis
from node.credentials.certificates import Subject
from node.credentials.keystore import load_key, load_passphrase
from node.queries.answers import MemberInfo
from node.system.clock import now_ms

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_ROLES = ("producer", "prosumer", "consumer", "dispatcher", "auditor", "observer", "device")
_DAYS = click.IntRange(1, 7_300)
_GONE = ("revoked", "left")
_days_option = click.option("--days", type=_DAYS, default=365, show_default=True, help="How long it is valid.")


@click.group("member", cls=Group)
def command() -> None:
    """Apply, admit, revoke, renew, leave; who the members are.

    An applicant makes its keys and an application, which proves that it holds them. The authority checks that, issues a
    certificate and signs the admission, which any member may bring to the chains. From the next period on the applicant
    is a member.

    \b
    Example:
      gridmerit init mynode --genesis mynet/genesis.json --network mynet
      gridmerit member apply --name homes-9 --role consumer --capacity-kwh 50 --position hill-1 -o mynode
      gridmerit member admit mynode/application.json --node mynet
      gridmerit member show homes-9 --node mynet
    """


# --- applying ------------------------------------------------------------------------------------


@command.command("apply")
@click.option("--name", required=True, help="Up to 32 letters, digits, _ and -.")
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What it is to the grid and the market.")
@click.option("--capacity-kwh", default="0", show_default=True, help="The most it makes or uses in a period.")
@click.option("--position", default="", help="The line of the grid that it hangs on.")
@click.option("--renewable-share", default="0", show_default=True, help="Of what it makes, from 0 to 1.")
@click.option("--stability", default="0", show_default=True, help="How much of that comes as forecast, from 0 to 1.")
@click.option("--owner", metavar="NAME|ADDRESS", help="Of a device: the member whose meter it is.")
@click.option("--seals", metavar="NAME,…", help="Chains that it would seal, or `all`.  [default: none]")
@click.option("--genesis", "genesis_file", type=_FILE, help="Its file.  [default: genesis.json in -o or --node]")
@click.option("--key", "key_file", type=_FILE, help="A chain key that it has already.  [default: key.pem in -o]")
@click.option("--passphrase-file", type=_FILE, help="Of --key.  [default: `passphrase` beside it]")
@click.option("-o", "--out", "directory", type=_DIRECTORY, required=True, help="Where keys and application go.")
@node_options
@json_option
def apply(
    name: str,
    role: str,
    capacity_kwh: str,
    position: str,
    renewable_share: str,
    stability: str,
    owner: str | None,
    seals: str | None,
    genesis_file: Path | None,
    key_file: Path | None,
    passphrase_file: Path | None,
    directory: Path,
    target: Target,
) -> None:
    """Make keys and an application to become a member.

    The directory gets `key.pem`, which signs transactions, and `tls-key.pem`, which other nodes know the member's node
    by (a device has none), both encrypted and for their owner alone, with their `passphrase`. Keys that are there
    already are used, such as those of `gridmerit init`. `application.json` goes to the authority: it holds no secret,
    and proves that whoever made it has both keys.

    The authority audits what the member asks to be registered with. Capacity bounds its orders and its meter; where
    credit decides who is served (`clearing_rule`), capacity, renewable share and stability weigh with it.

    No node is asked, but for the --owner that is no founder: whose name it is says the node of --node or --api.

    An application can be used once. One that asks for a renewal with another TLS key is made in the same way, in a new
    directory and with --key.

    \b
    Examples:
      gridmerit member apply --name homes-9 --role consumer --capacity-kwh 50 --position hill-1 -o mynode
      gridmerit member apply --name meter-homes-9 --role device --owner homes-9 --genesis genesis.json -o meter
    """
    genesis = load_genesis(genesis_file or _find_genesis(directory, target))
    terms = Terms(
        name=name,
        role=role,
        capacity_wh=parse_kwh(capacity_kwh),
        position=_check_position(genesis, position),
        owner=_find_owner(genesis, role, owner, target),
        seals=_parse_seals(genesis, seals),
        renewable_ppm=parse_share(renewable_share),
        stability_ppm=parse_share(stability),
    )
    _check_name(name)
    chain_key = None
    if key_file is not None:
        chain_key = load_key(key_file, load_passphrase(passphrase_file or key_file.with_name("passphrase")))
    make_directory(directory)
    keys = take_keys(directory, needs_tls=role not in WITHOUT_TLS, chain_key=chain_key)
    application = make_application(genesis.network_id, terms, keys)
    check_application(application, genesis.network_id)
    out = directory / APPLICATION_FILE
    save_application(out, application)
    address = "0x" + application.address.hex()
    lines = [
        _render_terms(terms),
        facts([("address", address), ("serial", application.serial), ("application", out)]),
        "",
        f"next: hand {out} to the network's authority, which runs: gridmerit member admit {out} --node DIR",
    ]
    document = {"application": str(out), "address": address, "public_key": application.key.hex()}
    emit({**document, "tls_key": application.tls_key.hex(), "serial": application.serial}, "\n".join(lines))


def _find_genesis(directory: Path, target: Target) -> Path:
    """The network's file in the new directory, or else in that of --node."""
    places = [directory, *([] if target.directory is None else [target.directory])]
    found = next((place / GENESIS_FILE for place in places if (place / GENESIS_FILE).exists()), None)
    if found is None:
        raise click.UsageError(f"--genesis FILE: which network? {directory / GENESIS_FILE} is not there")
    return found


def _check_name(name: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name) is None:
        raise click.UsageError(f"--name {name!r}: want up to 32 letters, digits, _ and -, a letter or digit first")


def _check_position(genesis: Genesis, position: str) -> str:
    """A line of the network's grid, where it has one. Raises `BadName`, too."""
    position = normalise_name(position)
    scheduling = next((chain for chain in genesis.chains if chain.kind == "scheduling"), None)
    known = [] if scheduling is None else [line.name for line in scheduling.scheduling.lines]
    if position and known and position not in known:
        raise click.UsageError(f"--position {position!r}: the grid has no such line, it has {', '.join(known)}")
    return position


def _find_owner(genesis: Genesis, role: str, owner: str | None, target: Target) -> bytes:
    """The owner's address: a founder's by the genesis, another's by the members that a node knows."""
    if (role == "device") != (owner is not None):
        raise click.UsageError("--owner goes with --role device, and a device needs it: the member whose meter it is")
    if owner is None:
        return b""
    founder = next((member for member in genesis.members if member.name == owner), None)
    if founder is not None:
        return address_of(founder.key)
    address = owner if owner.startswith("0x") else run_async(_look_up(genesis, owner, target))
    try:
        return parse_address(address)
    except WrongShape as error:
        raise click.UsageError(f"--owner: {error}") from None


async def _look_up(genesis: Genesis, name: str, target: Target) -> str:
    """A member's address, as a node of this network knows it. Raises `RemoteNotFound` or `WrongChain`."""
    async with open_chains(target) as chains:
        if (actual := chains.genesis.network_id) != genesis.network_id:
            raise WrongChain(
                actual=f"network {actual.hex()[:16]}", expected=f"network {genesis.network_id.hex()[:16]}, of --genesis"
            )
        return (await chains.any.member(name)).address


def _parse_seals(genesis: Genesis, text: str | None) -> tuple[str, ...]:
    known = [chain.name for chain in genesis.chains]
    if text in (None, "none"):
        return ()
    names = known if text == "all" else parse_names(text or "")
    for name in names:
        if name not in known:
            raise click.UsageError(f"--seals: the network has no chain {name!r}, it has {', '.join(known)}")
    return tuple(names)


def _render_terms(terms: Terms) -> str:
    lines: list[tuple[str, object]] = [("member", f"{terms.name} ({terms.role})")]
    if terms.capacity_wh or terms.position:
        lines.append(("capacity", f"{format_kwh(terms.capacity_wh)} kWh per period at {terms.position or 'no line'}"))
    lines += _render_merits(terms.renewable_ppm, terms.stability_ppm)
    if terms.owner:
        lines.append(("owner", "0x" + terms.owner.hex()))
    lines.append(("seals", ", ".join(terms.seals) or "nothing"))
    return facts(lines)


def _render_merits(renewable_ppm: int, stability_ppm: int) -> list[tuple[str, object]]:
    """What credit matching weighs besides, where there is any."""
    merits = (("renewable", renewable_ppm), ("stability", stability_ppm))
    return [(name, format_percent(ppm)) for name, ppm in merits if ppm]


# --- admitting -----------------------------------------------------------------------------------


@command.command("admit")
@click.argument("application_file", metavar="APPLICATION", type=_FILE)
@authority_option
@_days_option
@click.option("--seals", metavar="NAME,…", help="Which chains it may seal, `all` or `none`.  [default: as asked for]")
@click.option("-o", "--out", type=_DIRECTORY, help="Where its certificate goes.  [default: beside the application]")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is a member.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds.  [default: to the next period]")
@key_options
@node_options
@json_option
def admit(
    application_file: Path,
    authority: Path | None,
    days: int,
    seals: str | None,
    out: Path | None,
    wait: bool,
    timeout_s: float | None,
    key: str | None,
    passphrase_file: Path | None,
    target: Target,
) -> None:
    """Check an application, issue a certificate and admit the applicant on every chain that the node hosts.

    It becomes a member with the first block of the next period. `tls.pem` and `ca.pem` are for the applicant's node; a
    copy of the certificate and the signed act stay in the authority's directory.

    Where more keys must sign than that directory holds, the act is left there for `gridmerit authority sign`, and
    `gridmerit authority submit` brings it to the chains. An application is used once: where a chain could not be
    reached, bring the act again. --key names the member that sends the act, by default the node's own.

    \b
    Examples:
      gridmerit member admit mynode/application.json --node mynet
      gridmerit member admit application.json --authority authority --node mynode --seals none
    """
    application = load_application(application_file)
    directory, sponsor = find_authority(target, authority), resolve_sponsor(target, key, passphrase_file)

    async def work() -> tuple[dict[str, Any], str]:
        async with open_chains(target) as chains:
            files = load_authority(directory)
            rights = None if seals is None else _parse_seals(chains.genesis, seals)
            act, file, certificate = await _prepare(chains, application, files, days, rights)
            document: dict[str, Any] = {"name": application.name, "serial": act.serial, "act": str(file)}
            document["certificate"] = None if certificate is None else str(certificate)
            if lacks_signatures(act, chains):
                return leave_for_others(document, act, file, chains)
            outcomes = await submit_acts(chains, dict.fromkeys(chains.clients, act), sponsor)
            lines = [render_outcomes(outcomes, chains.missing), ""]
            if certificate is not None:
                handed = hand_over(files, certificate, out or application_file.parent)
                document["certificate"] = str(handed)
                lines.append(f"certificate  {handed}")
            if wait:
                note("waiting for the first block of the next period")
                await wait_until_active(chains, application.address, timeout_s)
            document |= {"status": "active" if wait else "pending", "chains": describe_outcomes(outcomes)}
            document["missing"] = list(chains.missing)
            begin = "is a member" if wait else "is a member from the next period on"
            lines.append(f"{application.name} {begin}")
            lines += _tell_next(application, certificate is not None)
            return document, "\n".join(lines)

    document, text = run_async(work())
    emit(document, text)


def _tell_next(application: Application, has_certificate: bool) -> list[str]:
    """What a new member still lacks: a node that is let in, money, and a meter."""
    name, lines = application.name, []
    if has_certificate:
        lines.append("next: its node needs tls.pem and ca.pem, and one of the others in its node.toml: they find it")
    if application.role in ("prosumer", "consumer"):
        lines.append(f"money: gridmerit tx send transfer {name} YUAN --key WHO_HAS_SOME --node DIR")
    if application.role in ("producer", "prosumer", "consumer"):
        lines.append(f"meter: gridmerit member apply --name meter-{name} --role device --owner {name} --node DIR …")
    return lines


async def _prepare(
    chains: Chains, application: Application, files: AuthorityFiles, days: int, seals: tuple[str, ...] | None
) -> tuple[Act, Path, Path | None]:
    """The act that admits an applicant, its file and that of the certificate."""
    genesis = chains.genesis
    check_application(application, genesis.network_id)
    holder = await find_member(chains.any, application.name)
    if holder is not None and holder.key != application.key.hex():
        raise NameTaken(name=application.name)
    validity = compute_validity(now_ms(), days)
    act = sign_as_far(make_admission(application, validity, seals=seals), files, genesis.authority)
    file = claim_application(files, application, act)
    if not application.tls_key:
        return act, file, None
    subject = Subject(member=application.name, key=application.key, role=application.role, network=application.network)
    return (
        act,
        file,
        issue_certificate(files, subject, tls_key=application.tls_key, serial=act.serial, validity=validity),
    )


# --- revoking and renewing -----------------------------------------------------------------------


@command.command("revoke")
@click.argument("name")
@click.option("--reason", default="", help="Stands on the chains, for all to read.")
@authority_option
@key_options
@node_options
@json_option
def revoke(
    name: str, reason: str, authority: Path | None, key: str | None, passphrase_file: Path | None, target: Target
) -> None:
    """End a membership, on every chain that the node hosts.

    From the block that holds it on the member's transactions are refused; its connections are closed once that is
    final, and with the next period it seals and votes no more. What it has agreed is still settled.

    \b
    Example:
      gridmerit member revoke homes-9 --reason "its meter was opened" --node mynet
    """
    directory, sponsor = find_authority(target, authority), resolve_sponsor(target, key, passphrase_file)

    async def work() -> tuple[dict[str, Any], str]:
        async with open_chains(target) as chains:
            files, standing = load_authority(directory), await _find_standing(chains, name)
            acts = {
                chain: make_revocation(chains.genesis.network_id, member.serial, reason)
                for chain, member in standing.items()
            }
            return await sign_and_submit(chains, acts, files, name, sponsor)

    document, text = run_async(work())
    emit(document, text)


@command.command("renew")
@click.argument("name")
@click.option("--application", "application_file", type=_FILE, help="Its application, for another TLS key.")
@_days_option
@click.option("-o", "--out", type=_DIRECTORY, help="Put tls.pem and ca.pem there, such as into its node's directory.")
@authority_option
@key_options
@node_options
@json_option
def renew(
    name: str,
    application_file: Path | None,
    days: int,
    out: Path | None,
    authority: Path | None,
    key: str | None,
    passphrase_file: Path | None,
    target: Target,
) -> None:
    """Give a member another certificate and validity, on every chain that the node hosts. It takes effect at once.

    Without --application it keeps its TLS key. A running node takes up a new certificate that is put in the place of
    the old one.

    \b
    Examples:
      gridmerit member renew homes-9 --node mynet -o mynode
      gridmerit member renew homes-9 --application new/application.json --node mynet -o new
    """
    application = None if application_file is None else load_application(application_file)
    directory, sponsor = find_authority(target, authority), resolve_sponsor(target, key, passphrase_file)

    async def work() -> tuple[dict[str, Any], str]:
        async with open_chains(target) as chains:
            files, standing = load_authority(directory), await _find_standing(chains, name)
            validity = compute_validity(now_ms(), days)
            acts, certificate = _prepare_renewal(chains, files, standing, application, validity)
            document, text = await sign_and_submit(chains, acts, files, name, sponsor, application)
            if certificate is not None:
                is_done = document["status"] == "done"
                kept = hand_over(files, certificate, out) if out is not None and is_done else certificate
                document["certificate"] = str(kept)
                text += f"\n\ncertificate  {kept}\nvalid until  {format_end(validity.end_ms)}"
            return document, text

    document, text = run_async(work())
    emit(document, text)


def _prepare_renewal(
    chains: Chains,
    files: AuthorityFiles,
    standing: dict[str, MemberInfo],
    application: Application | None,
    validity: Validity,
) -> tuple[dict[str, Act], Path | None]:
    """An act per chain under one new serial, and the certificate's file."""
    network, member = chains.genesis.network_id, next(iter(standing.values()))
    serial, tls_key = draw_serial(), bytes.fromhex(member.tls_key)
    if application is not None:
        check_application(application, network)
        if application.key.hex() != member.key:
            raise BadApplication(file=application.name, detail=f"its chain key is not that of {member.name}")
        serial, tls_key = application.serial, application.tls_key
    acts = {
        chain: make_renewal(network, current.serial, serial, tls_key, validity) for chain, current in standing.items()
    }
    if not tls_key:
        return acts, None
    subject = Subject(member=member.name, key=bytes.fromhex(member.key), role=member.role, network=network)
    return acts, issue_certificate(files, subject, tls_key=tls_key, serial=serial, validity=validity)


async def _find_standing(chains: Chains, name: str) -> dict[str, MemberInfo]:
    """The member on each chain on which its membership stands. Raises `RemoteNotFound` or `RemoteRejected`.

    An admission may not have reached every chain.
    """
    asked = {chain: await find_member(client, name) for chain, client in chains.clients.items()}
    found = {chain: member for chain, member in asked.items() if member is not None}
    if not found:
        await chains.any.member(name)
    standing = {chain: member for chain, member in found.items() if member.status not in _GONE}
    if not standing:
        member = next(iter(found.values()))
        raise (MemberRevoked if member.status == "revoked" else MemberLeft)(address=member.address)
    return standing


# --- leaving -------------------------------------------------------------------------------------


@command.command("exit")
@click.option("--yes", is_flag=True, help="Do not ask.")
@key_options
@node_options
@json_option
def leave(yes: bool, key: str | None, passphrase_file: Path | None, target: Target) -> None:
    """Leave the network, on every chain that the node hosts. Only another admission leads back.

    The member signs this itself. Its transactions are refused from then on; with the next period it seals and votes no
    more. What it has agreed is still settled, and its balance stays where it is: spend it first.

    \b
    Example:
      gridmerit member exit --key homes-9 --node mynet
    """
    signer = resolve_key(target, key, passphrase_file)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("leaving cannot be undone: add --yes")
        click.confirm(f"leave the network as 0x{signer.address.hex()}?", abort=True, err=True)

    async def work() -> tuple[dict[str, Any], str]:
        async with open_chains(target) as chains:
            found = {chain: await client.member(signer.address) for chain, client in chains.clients.items()}

            async def go(chain: str, member: MemberInfo) -> Outcome:
                if member.status == "left":
                    return Outcome(chain=chain, status="already")
                return await send_and_wait(chains.clients[chain], signer, "exit", ())

            outcomes = await on_every(found, go)
            name = next(iter(found.values())).name
            document = {"name": name, "chains": describe_outcomes(outcomes), "missing": list(chains.missing)}
            return document, render_outcomes(outcomes, chains.missing)

    document, text = run_async(work())
    emit(document, text)


# --- looking -------------------------------------------------------------------------------------


@command.command("list")
@node_options
@json_option
def list_members(target: Target) -> None:
    """Everybody who is, was or is about to be a member.

    What is shown is on the node's trading chain; name another with --chain.

    \b
    Example:
      gridmerit member list --node mynet
    """

    async def work() -> tuple[MemberInfo, ...]:
        async with connect_to_any(target, "trading") as client:
            return await client.members()

    members = run_async(work())
    rows = [
        (
            member.name,
            member.role,
            member.status,
            "yes" if member.seals else "",
            member.serial,
            format_end(member.not_after_ms),
            member.address,
        )
        for member in members
    ]
    heads = ["member", "role", "status", "votes", "serial", "valid until", "address"]
    emit([to_plain(member) for member in members], table(heads, rows, left=(0, 1, 2, 3, 5, 6), spare=(4,)))


@command.command("show")
@click.argument("name")
@node_options
@json_option
def show(name: str, target: Target) -> None:
    """A member by name or 0x… address: its keys and credential, and how it stands on each chain.

    \b
    Example:
      gridmerit member show homes-9 --node mynet
    """

    async def work() -> dict[str, MemberInfo]:
        async with open_chains(target) as chains:
            return {chain: await client.member(name) for chain, client in chains.clients.items()}

    found = run_async(work())
    emit({chain: to_plain(member) for chain, member in found.items()}, _render_member(found))


def _render_member(found: dict[str, MemberInfo]) -> str:
    member = next(iter(found.values()))
    lines: list[tuple[str, object]] = [
        ("member", f"{member.name} ({member.role})"),
        ("address", member.address),
        ("public key", member.key),
        ("TLS key", member.tls_key or "none: peers know it by its public key"),
    ]
    if member.capacity_wh:
        lines.append(("capacity", f"{format_kwh(member.capacity_wh)} kWh per period at {member.position}"))
    lines += _render_merits(member.renewable_ppm, member.stability_ppm)
    if member.owner:
        lines.append(("owner", member.owner))
    heads = ["chain", "status", "votes", "serial", "valid until"]
    return "\n".join([facts(lines), "", table(heads, list(_render_rows(found)), left=(0, 1, 2, 4))])


def _render_rows(found: dict[str, MemberInfo]) -> Iterable[tuple[object, ...]]:
    for chain, member in found.items():
        yield chain, member.status, "yes" if member.seals else "", member.serial, format_end(member.not_after_ms)
