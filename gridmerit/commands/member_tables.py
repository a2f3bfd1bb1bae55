"""Members, applications and admissions as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gridmerit.commands.acts import Brought
from gridmerit.commands.acts_tables import format_end, render_outcomes
from gridmerit.network.enrolment import Application, Terms
from gridmerit.tables import facts, table
from gridmerit.text import format_kwh, format_percent, quote_path
from ledger.hashing import show_address
from node.queries.answers import MemberInfo

# --- applications and admissions -----------------------------------------------------------------


def render_application(terms: Terms, application: Application, file: Path) -> str:
    """The terms of an application, and what to do with its file."""
    address = show_address(application.address)
    lines = [
        render_terms(terms),
        facts([("address", address), ("serial", application.serial), ("application", file)]),
        "",
        f"next: hand {file} to the network's authority, which runs: "
        f"gridmerit member admit {quote_path(file)} --node DIR",
    ]
    return "\n".join(lines)


def render_terms(terms: Terms) -> str:
    lines: list[tuple[str, object]] = [("member", f"{terms.name} ({terms.role})")]
    if terms.capacity_wh or terms.position:
        lines.append(("capacity", f"{format_kwh(terms.capacity_wh)} kWh per period at {terms.position or 'no line'}"))
    lines += render_merits(terms.renewable_ppm, terms.stability_ppm)
    if terms.owner:
        lines.append(("owner", "0x" + terms.owner.hex()))
    lines.append(("seals", ", ".join(terms.seals) or "nothing"))
    return facts(lines)


def render_merits(renewable_ppm: int, stability_ppm: int) -> list[tuple[str, object]]:
    """The merits that credit matching weighs besides, where there are any."""
    merits = (("renewable", renewable_ppm), ("stability", stability_ppm))
    return [(name, format_percent(ppm)) for name, ppm in merits if ppm]


def render_admitted(application: Application, brought: Brought, certificate: Path | None, *, is_active: bool) -> str:
    """The outcome of an admission that enough keys have signed."""
    assert brought.outcomes is not None
    lines = [render_outcomes(brought.outcomes, brought.missing), ""]
    if certificate is not None:
        lines.append(f"certificate  {certificate}")
    lines.append(f"{application.name} {'is a member' if is_active else 'is a member from the next period on'}")
    return "\n".join([*lines, *tell_next(application, certificate is not None)])


def tell_next(application: Application, has_certificate: bool) -> list[str]:
    """The things that a new member still lacks: a node that is let in, money, and a meter."""
    name, lines = application.name, []
    if has_certificate:
        lines.append("next: its node needs tls.pem and ca.pem, and one of the others in its node.toml: they find it")
    if application.role in ("prosumer", "consumer"):
        lines.append(f"money: gridmerit tx send transfer {name} YUAN --key WHO_HAS_SOME --node DIR")
    if application.role in ("producer", "prosumer", "consumer"):
        lines.append(f"meter: gridmerit member apply --name meter-{name} --role device --owner {name} --node DIR …")
    return lines


# --- members -------------------------------------------------------------------------------------


def render_members(members: Sequence[MemberInfo]) -> str:
    """All of them, a line each."""
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
    return table(heads, rows, left=(0, 1, 2, 3, 5, 6), spare=(4,))


def render_member(found: dict[str, MemberInfo]) -> str:
    member = next(iter(found.values()))
    lines: list[tuple[str, object]] = [
        ("member", f"{member.name} ({member.role})"),
        ("address", member.address),
        ("public key", member.key),
        ("TLS key", member.tls_key or "none: peers know it by its public key"),
    ]
    if member.capacity_wh:
        lines.append(("capacity", f"{format_kwh(member.capacity_wh)} kWh per period at {member.position}"))
    lines += render_merits(member.renewable_ppm, member.stability_ppm)
    if member.owner:
        lines.append(("owner", member.owner))
    heads = ["chain", "status", "votes", "serial", "valid until"]
    return "\n".join([facts(lines), "", table(heads, list(_render_rows(found)), left=(0, 1, 2, 4))])


def _render_rows(found: dict[str, MemberInfo]) -> Iterable[tuple[object, ...]]:
    for chain, member in found.items():
        yield chain, member.status, "yes" if member.seals else "", member.serial, format_end(member.not_after_ms)
