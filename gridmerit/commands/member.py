"""`gridmerit member`: who the members are, and how one becomes, stays and ceases to be one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from gridmerit.amounts import parse_kwh, parse_share
from gridmerit.commands import Group
from gridmerit.commands.acts import (
    Brought,
    authority_option,
    find_authority,
    open_chains,
    resolve_sponsor,
    wait_until_active,
)
from gridmerit.commands.acts_tables import (
    describe_brought,
    describe_kept,
    describe_outcomes,
    format_end,
    render_brought,
    render_outcomes,
    render_unsigned,
)
from gridmerit.commands.member_tables import render_admitted, render_application, render_member, render_members
from gridmerit.commands.member_terms import check_name, check_position, find_genesis, find_owner, parse_seals
from gridmerit.commands.membership import (
    Renewed,
    admit_applicant,
    fetch_member,
    fetch_members,
    leave_network,
    renew_member,
    revoke_member,
)
from gridmerit.commands.target import Target, key_options, load_key_file, node_options, resolve_key, run_async, to_plain
from gridmerit.network.enrolment import Terms, apply_for, load_application, load_authority
from gridmerit.output import emit, json_option, note
from ledger.hashing import show_address
from node.config import load_genesis

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_ROLES = (
    *("producer", "prosumer", "consumer", "dispatcher", "auditor", "observer", "device"),
    *("bank", "originator", "investor"),  # where the chains have economy = 1
)
_DAYS = click.IntRange(1, 7_300)
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
@click.option("--role", type=click.Choice(_ROLES), metavar="ROLE", required=True, help=f"One of {', '.join(_ROLES)}.")
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
    genesis = load_genesis(genesis_file or find_genesis(directory, target))
    terms = Terms(
        name=name,
        role=role,
        capacity_wh=parse_kwh(capacity_kwh),
        position=check_position(genesis, position),
        owner=find_owner(genesis, role, owner, target),
        seals=parse_seals(genesis, seals),
        renewable_ppm=parse_share(renewable_share),
        stability_ppm=parse_share(stability),
    )
    check_name(name)
    chain_key = None if key_file is None else load_key_file(key_file, passphrase_file)
    application, file = apply_for(directory, genesis.network_id, terms, chain_key)
    document = {
        "application": str(file),
        "address": show_address(application.address),
        "public_key": application.key.hex(),
        "tls_key": application.tls_key.hex(),
        "serial": application.serial,
    }
    emit(document, render_application(terms, application, file))


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

    async def work() -> tuple[Brought, Path | None]:
        async with open_chains(target) as chains:
            files = load_authority(directory)
            rights = None if seals is None else parse_seals(chains.genesis, seals)
            place = out or application_file.parent
            brought, certificate = await admit_applicant(
                chains, application, files, sponsor, days=days, seals=rights, out=place
            )
            if wait and brought.outcomes is not None:
                note("waiting for the first block of the next period")
                await wait_until_active(chains, application.address, timeout_s)
            return brought, certificate

    brought, certificate = run_async(work())
    document = {
        "name": application.name,
        "serial": brought.act.serial,
        "act": str(brought.files[0]),
        "certificate": None if certificate is None else str(certificate),
        **describe_brought(brought),
    }
    if brought.outcomes is None:
        emit(document, render_unsigned(brought, certificate))
        return
    document["status"] = "active" if wait else "pending"
    emit(document, render_admitted(application, brought, certificate, is_active=wait))


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

    async def work() -> Brought:
        async with open_chains(target) as chains:
            return await revoke_member(chains, name, reason, load_authority(directory), sponsor)

    brought = run_async(work())
    emit(describe_kept(name, brought), render_brought(brought))


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

    async def work() -> Renewed:
        async with open_chains(target) as chains:
            files = load_authority(directory)
            return await renew_member(chains, name, application, files, sponsor, days=days, out=out)

    renewed = run_async(work())
    document, text = describe_kept(name, renewed.brought), render_brought(renewed.brought)
    if renewed.certificate is not None:
        document["certificate"] = str(renewed.certificate)
        text += f"\n\ncertificate  {renewed.certificate}\nvalid until  {format_end(renewed.validity.end_ms)}"
    emit(document, text)


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
            name, outcomes = await leave_network(chains, signer)
            document = {"name": name, "chains": describe_outcomes(outcomes), "missing": list(chains.missing)}
            return document, render_outcomes(outcomes, chains.missing)

    document, text = run_async(work())
    emit(document, text)


# --- looking -------------------------------------------------------------------------------------


@command.command("list")
@node_options
@json_option
def list_members(target: Target) -> None:
    """List who is, was or is about to be a member.

    What is shown is on the node's trading chain; name another with --chain.

    \b
    Example:
      gridmerit member list --node mynet
    """

    members = run_async(fetch_members(target))
    emit([to_plain(member) for member in members], render_members(members))


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

    found = run_async(fetch_member(target, name))
    emit({chain: to_plain(member) for chain, member in found.items()}, render_member(found))
