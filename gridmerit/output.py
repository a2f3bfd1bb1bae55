"""The output that a user sees: results on stdout as text or one JSON document, errors and progress on stderr.

Owns the form of an error (design §7); amounts and times are written in `text.py`, tables drawn in `tables.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from gridmerit.text import format_kwh, quote_path, show_moments
from ledger.errors import GridmeritError
from node.driver.outages import REMEDIES
from node.queries.exact import show_exact

_AS_JSON = "gridmerit.json"

_MEND = (
    "gridmerit node verify {directory} --chain {chain} --mend --from URL, of a node that is well; where that is not"
    " enough, gridmerit node reset {directory} --chain {chain}"
)

HINTS: dict[str, str] = {
    **REMEDIES,
    "AmbiguousChain": "the same with --chain NAME",
    "AddressInUse": "stop what listens there, or give {setting} in node.toml another address",
    "ActNotEverywhere": "gridmerit authority submit FILE --node DIR, which leaves out the chains that have it",
    "ApplicationUsed": "gridmerit authority submit {act} --node DIR, or another application: gridmerit member apply",
    "AboveHead": "gridmerit node inspect DIR, which shows how high it is",
    "BackupDamaged": "another backup; this one must not be used",
    "BackupFromLater": "the release that made it, which its backup.json names",
    "BeyondPosition": "gridmerit market positions PERIOD, and no more than that the other way",
    "BelowFinality": "gridmerit node reset DIR, which throws the whole ledger away and fetches it anew",
    "BadActFile": "gridmerit authority show FILE; acts are made by gridmerit member admit, renew and revoke",
    "BadAttackSetting": "gridmerit attack show {attack}",
    "BadApplication": "gridmerit member apply, which makes another",
    "BadHold": "the companion that wrote it; without the file nothing is held",
    "BadHour": "gridmerit game --help, which says what goes",
    "BadKeyFile": "gridmerit key new FILE",
    "BadOrders": "gridmerit market compare --help, which shows such a file",
    "BadParameters": "compare the file with configs/recommended/jy1.toml",
    "BadProfile": "a file of the form of configs/profiles/rts_gmlc_day.csv, every player in every hour",
    "BadReplay": "gridmerit sim trial NAME --film FILE, which writes one",
    "BadSetting": "gridmerit sim show {scenario}",
    "BadStrategyAnswer": "docs/strategies.md, which says what a strategy may answer",
    "BlockPruned": "a node that keeps all, with --node or --api",
    "BusyDirectory": "gridmerit net status DIR, or another directory",
    "ChainOut": "gridmerit status, which says what to do; the node's other chains run",
    "ClaimFrozen": "a claim on a later period; they move until the gate: gridmerit market book",
    "ClusterUnusable": "dask scheduler, and on each machine: dask worker {address}",
    "ForeignApplication": "gridmerit member apply --genesis FILE with the genesis of this network",
    "ForeignWorker": "the same version of gridmerit on every worker, then --resume",
    "GateClosed": "gridmerit market book, which names the periods that are open",
    "IntentionTooLate": "a later period, as soon as its quota is there: gridmerit market quota, or gridmerit agents",
    "InsufficientBalance": "gridmerit account show NAME",
    "InvalidProof": "--genesis with the file of the network that it comes from, or fetch it again: gridmerit proof get",
    "KeyFileForbidden": "{remedy}",
    "KeyFilePermissions": "{remedy}",
    "MarketNotOpen": "gridmerit market book, which names the periods that are open",
    "MissingExtra": 'pip install "gridmerit[{extra}]"',
    "NoFilm": "gridmerit sim list --json, which says what films",
    "NoSupplyMargin": "a larger bureau_capacity_wh, or a larger phi: the part of their load that users can go without",
    "NodeFailed": "gridmerit doctor --node {directory}",
    "NeverRun": "gridmerit start DIR",
    "NetworkRunning": "gridmerit net down {directory}",
    "NotABackup": "a directory that gridmerit node backup has made",
    "NotADevice": "--key meter-NAME, the key of the player's meter",
    "NotAPlayer": "--strategy with one of these names; a player orders where its key is, unless --but names it",
    "NotAStrategy": "docs/strategies.md, which has one in ten lines",
    "NotADispatcher": "--key dispatch, in a local network the dispatcher's",
    "NotASweep": "gridmerit sim run NAME --out {directory}",
    "NotDisposable": "gridmerit net new --disposable DIR makes a network that may be attacked",
    "NotSettled": "a larger mu: choices that are less sharp",
    "NotThisAuthority": "--authority DIR with the authority's keys",
    "NoCertificate": "the same a moment later; gridmerit net status shows which height is final",
    "NoPeriod": "gridmerit market book, which shows how far each period is; plans come by gridmerit tx send plan",
    "NoSession": "the same without --session",
    "OneSession": "gridmerit market trades --period {period}",
    "NoStandingOrder": "gridmerit treasury show, which has them all",
    "NoEconomy": "a network whose chains have economy = 1",
    "NoBill": "gridmerit account bill MEMBER, which has the legs of its settlement",
    "BudgetNotCovered": "a smaller budget, or a deposit before: gridmerit treasury deposit",
    "ProgrammeExists": "gridmerit programme show, which has them all; another name",
    "NoTreasury": "a network whose chains have economy = 1",
    "PaymentBooked": "gridmerit treasury show, which has each bank's last payment; one after it",
    "RoleNotAllowed": "--key with the key of a member with that role; gridmerit member list has them",
    "StandingOrderTaken": "the other bank's gridmerit treasury order MEMBER --end",
    "UnderCreditLine": "gridmerit account show MEMBER, which says what is lacking; a bank's gridmerit treasury deposit",
    "NoQuota": "gridmerit grid {period}; where nothing is planned, gridmerit tx send plan --help",
    "NoQuotas": "gridmerit grid {period}; where nothing is planned, gridmerit tx send plan --help",
    "NoSchedule": "gridmerit tx send plan --help",
    "NoOrders": "gridmerit market book for another --period; or, without a node, compare --profile-hour 20",
    "NoNetwork": "{remedy}",
    "NobodyToAttack": "gridmerit net new --disposable DIR --nodes 4",
    "NoSuchNode": "gridmerit net status {directory}",
    "NotANode": "{remedy}",
    "OverLineQuota": "gridmerit market quota {period}, and an order within it",
    "OverQuota": "gridmerit market quota {period}, and orders within it",
    "PlanTooLate": "gridmerit tx send plan with a later PERIOD; gridmerit grid shows what is planned",
    "PriceTooHigh": "a lower --price: the grid company's is better",
    "ReadingTooEarly": "the same once the period is over; gridmerit market book shows when",
    "RepeatedPoint": "each value of --set once",
    "StrategyFailed": "gridmerit sim trial strategies --set mix=FILE.py:CLASS, which runs it without a network",
    "StrategyNotLoaded": "python FILE.py, which must end by itself: what takes long belongs into `answer`",
    "StrategyOverdue": "gridmerit sim trial strategies --set mix=FILE.py:CLASS, which runs it without a network",
    "StoreLocked": "gridmerit net status DIR; only one process may use a data directory",
    "Superseded": "gridmerit tx show {by}; then send it again, and let one node at a time take what a key signs",
    "RowMissing": _MEND,
    "RowUnreadable": _MEND,
    "RowWrong": _MEND,
    "StateDiffers": "gridmerit node reset {directory} --chain {chain}: the state is fetched anew, with the chain",
    "StoreBusy": "the same a moment later, or with the node stopped",
    "StrayRows": "gridmerit node verify {directory} --chain {chain} --mend",
    "SweepChanged": "another --out; or go on with the settings, the seed and the code that it began with",
    "SweepExists": "the same with --resume, which adds what is missing, or another --out",
    "SweepRunning": "wait for it, or another --out",
    "SweepTooLarge": "fewer values or --reps, or several sweeps with other --seed",
    "TransactionNotKept": "a node that keeps all, with --node or --api",
    "TrialsFailed": "{command}",
    "UnknownAttack": "gridmerit attack list",
    "UnknownChainName": "gridmerit status, which lists the node's chains, or another node: --node DIR or --api URL",
    "UnknownScenario": "gridmerit sim list",
    "UnknownSetting": "gridmerit sim show {scenario}",
    "UnknownTransaction": "another node with --node or --api: one that hosts the chain it was sent to",
    "UnknownStrategy": "one of these, or FILE.py:CLASS; docs/strategies.md shows how to write one",
    "UnknownTheory": "gridmerit sim theory",
    "UnusableDirectory": "another path, whose parents are directories that you may write to",
    "RulesUnknown": "the newest release of gridmerit on this node, on the same directory (docs/upgrades.md)",
    "OtherWireVersion": "the newest release, on the node that speaks the lower version (docs/upgrades.md)",
    "SignedAlready": "gridmerit authority submit FILE --node DIR where enough have signed",
    "TargetNotAllowed": "--key dispatch, in a local network the dispatcher's",
    "TargetOutOfBounds": "prices within gridmerit status --json, market.feed_in_uyuan_per_kwh to retail_uyuan_per_kwh",
    "TargetTooEarly": "a PERIOD up to {last}, or the same later",
    "TargetTooLate": "gridmerit tx send game-target with a later PERIOD; period {period} clears as price-time does",
    "TargetTwice": "gridmerit market book --period {period}, which shows the target",
    "TooFewDescriptors": "ulimit -n {want} before it starts; LimitNOFILE= of a service, ulimits: nofile of a container",
    "TooFewSignatures": "gridmerit authority sign FILE --key KEY, by another key of the authority",
    "Unreachable": "gridmerit net up DIR, or gridmerit start DIR; name another node with --node or --api",
    "UpgradeOutOfOrder": "gridmerit status --json, which says which rules hold now and which are announced",
    "UpgradeTooSoon": "the same with a greater HEIGHT",
    "UnknownAccount": "gridmerit member list, which has everybody",
    "UnknownKind": "gridmerit tx send --help, which has the kinds",
    "UnknownMember": "gridmerit member list, which has everybody",
    "WorkerLost": "the same with --resume, and fewer --jobs where memory is short",
    "WrongPassphrase": "the key's own passphrase file: --passphrase-file, or of a node passphrase_file in node.toml",
}
_WANT_KEYS = ("want", "expected", "limit")
_HAVE_KEYS = ("have", "actual")
_IN_KWH = frozenset({"BeyondPosition", "ImplausibleReading", "OutputNotAllowed", "OverQuota", "RegisterTurnedBack"})


# --- results -------------------------------------------------------------------------------------


def json_option(command: click.decorators.FC) -> click.decorators.FC:
    """The option --json; what it says is read by `emit`."""

    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        context.meta[_AS_JSON] = value

    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print one JSON document, in integer units."
    )
    return option(command)


def emit(document: object, text: str) -> None:
    """Print a command's one result: `document` under --json, else `text`."""
    click.echo(to_json(document) if wants_json() else text)


def wants_json() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_AS_JSON))


def to_json(document: object) -> str:
    """Readable JSON; bytes become hex, and integers that may be large are exact (`node.queries.exact`)."""
    return json.dumps(show_exact(document), indent=2, ensure_ascii=False, default=_to_plain)


def note(text: str) -> None:
    """Progress and remarks, on stderr."""
    click.echo(text, err=True)


def _to_plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return dict(value)
    raise AssertionError(f"no JSON form for {type(value).__name__}")


# --- errors --------------------------------------------------------------------------------------


def format_error(error: GridmeritError) -> str:
    """`error[code] what happened`, then `have … want …` where the values say so, then `try: …`."""
    lines = [f"error[{error.code}] {show_moments(str(error))}"]
    have = next((error.values[key] for key in _HAVE_KEYS if key in error.values), None)
    want = next((error.values[key] for key in _WANT_KEYS if key in error.values), None)
    if have is not None and want is not None:
        lines.append(f"  have {_show_value(error.code, have)}, want {_show_value(error.code, want)}")
    hint = getattr(error, "hint", None) or HINTS.get(error.code)
    if hint:
        lines.append(f"  try: {hint.format_map(_Lenient(error.values))}")
    return "\n".join(lines)


def _show_value(code: str, value: object) -> str:
    """Numbers are text in what a node answers."""
    return f"{format_kwh(int(str(value)))} kWh" if code in _IN_KWH else str(value)


def error_document(code: str, message: str, values: Mapping[str, object], exit_code: int) -> dict[str, object]:
    """The document that --json prints instead of a result."""
    plain = {key: None if value is None else str(value) for key, value in values.items()}
    return {"error": code, "message": message, "values": plain, "exit_code": exit_code}


def describe_error(error: GridmeritError) -> dict[str, object]:
    """A fault that is one of several, with what to try."""
    hint = HINTS.get(error.code)
    plain = {key: None if value is None else str(value) for key, value in error.values.items()}
    remedy = None if hint is None else hint.format_map(_Lenient(error.values))
    return {"error": error.code, "message": str(error), "values": plain, "remedy": remedy}


class _Lenient(dict[str, object]):
    """Leaves a placeholder without a value as a word to fill in; a path is a word of a command line."""

    def __getitem__(self, key: str) -> object:
        value = super().__getitem__(key)
        return quote_path(value) if isinstance(value, Path) else value

    def __missing__(self, key: str) -> str:
        return key.upper()


def stderr_is_terminal() -> bool:
    return sys.stderr.isatty()
