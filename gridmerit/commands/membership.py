"""Deeds of the authority and of members about a membership, on every chain that a node hosts; plain functions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gridmerit.commands.acts import (
    Brought,
    Chains,
    Outcome,
    bring,
    find_member,
    on_every,
    open_chains,
    send_and_wait,
    sign_and_submit,
)
from gridmerit.commands.hosted import connect_to_any
from gridmerit.commands.target import Target
from gridmerit.errors import BadApplication
from gridmerit.network.enrolment import (
    Act,
    Application,
    AuthorityFiles,
    Validity,
    check_application,
    claim_application,
    compute_validity,
    draw_serial,
    hand_over,
    issue_certificate,
    make_admission,
    make_renewal,
    make_revocation,
    sign_as_far,
)
from ledger.errors import MemberLeft, MemberRevoked, NameTaken
from ledger.signatures import SigningKey
from node.credentials.certificates import Subject
from node.queries.answers import MemberInfo
from node.system.clock import now_ms

_GONE = ("revoked", "left")

# --- admitting -----------------------------------------------------------------------------------


async def admit_applicant(
    chains: Chains,
    application: Application,
    files: AuthorityFiles,
    sponsor: SigningKey,
    *,
    days: int,
    seals: tuple[str, ...] | None = None,
    out: Path,
) -> tuple[Brought, Path | None]:
    """Check an application, issue a certificate, and bring the act to the chains; with the certificate's file.

    That is in `out` once the act is on the chains, and with the authority where more keys must sign.
    """
    act, file, certificate = await _prepare(chains, application, files, days, seals)
    brought = await bring(chains, dict.fromkeys(chains.clients, act), (file,), sponsor)
    if certificate is not None and brought.outcomes is not None:
        certificate = hand_over(files, certificate, out)
    return brought, certificate


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


async def revoke_member(chains: Chains, name: str, reason: str, files: AuthorityFiles, sponsor: SigningKey) -> Brought:
    """End a membership. Raises as `find_standing` and `submit_acts`."""
    acts = {
        chain: make_revocation(chains.genesis.network_id, member.serial, reason)
        for chain, member in (await find_standing(chains, name)).items()
    }
    return await sign_and_submit(chains, acts, files, name, sponsor)


class Renewed(NamedTuple):
    """The outcome of a renewal; the certificate is in the place asked for once the act is on the chains."""

    brought: Brought
    certificate: Path | None
    validity: Validity


async def renew_member(
    chains: Chains,
    name: str,
    application: Application | None,
    files: AuthorityFiles,
    sponsor: SigningKey,
    *,
    days: int,
    out: Path | None = None,
) -> Renewed:
    """Give a member another certificate and validity. Raises as `find_standing` and `submit_acts`."""
    standing, validity = await find_standing(chains, name), compute_validity(now_ms(), days)
    acts, certificate = _prepare_renewal(chains, files, standing, application, validity)
    brought = await sign_and_submit(chains, acts, files, name, sponsor, application)
    if certificate is not None and out is not None and brought.outcomes is not None:
        certificate = hand_over(files, certificate, out)
    return Renewed(brought, certificate, validity)


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


async def find_standing(chains: Chains, name: str) -> dict[str, MemberInfo]:
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


# --- leaving and looking -------------------------------------------------------------------------


async def leave_network(chains: Chains, signer: SigningKey) -> tuple[str, list[Outcome]]:
    """End the signer's own membership; its name, and what became of that on each chain."""
    found = {chain: await client.member(signer.address) for chain, client in chains.clients.items()}

    async def go(chain: str, member: MemberInfo) -> Outcome:
        if member.status == "left":
            return Outcome(chain=chain, status="already")
        return await send_and_wait(chains.clients[chain], signer, "exit", ())

    outcomes = await on_every(found, go)
    return next(iter(found.values())).name, outcomes


async def fetch_member(target: Target, ref: str) -> dict[str, MemberInfo]:
    """A member by name or 0x… address, as each chain has it."""
    async with open_chains(target) as chains:
        return {chain: await client.member(ref) for chain, client in chains.clients.items()}


async def fetch_members(target: Target) -> tuple[MemberInfo, ...]:
    """All members on the chain that is named, else on the trading chain or the only one."""
    async with connect_to_any(target, "trading") as client:
        return await client.members()
