"""Money: periods of a securitised pool against a plain function on dicts, payouts against a loop of transfers.

A period is one call with the mappings that the entry point takes: fields and bounds are checked and a new state is
made. The baseline checks nothing and writes into the dict that it is given, in one go. A payout is one holder paid: its
part computed, and credited to its balance. Time is the processor's; both sides take turns, and the best of each counts.
"""

from __future__ import annotations

import sys
from random import Random

from benchmarks.economy_lots import run as run_lots
from benchmarks.table import Row, print_table
from benchmarks.turns import take_turns
from market.waterfall import YEAR_MS, pay_holders, pay_waterfall

PERIODS, QUICK_PERIODS = 20_000, 200
HOLDERS, QUICK_HOLDERS = 100_000, 500
PPM = 1_000_000
POT = bytes(20)

STATE = {
    "pool": 10**12,
    "senior": 7 * 10**11,
    "mezz": 2 * 10**11,
    "reserve": 0,
    "fee_due": 0,
    "sen_due": 0,
    "mez_due": 0,
    "amort": 0,
    "default": 0,
}
PARAMS = {
    "fee_ppm": 5_000,
    "sen_ppm": 40_000,
    "mez_ppm": 80_000,
    "reserve_ppm": 30_000,
    "default_trigger_ppm": 100_000,
    "pool0": 10**12,
    "period_ms": 30 * 86_400_000,
    "sched": 7 * 10**9,
}


# --- the waterfall -----------------------------------------------------------------------------------


def pay_plainly(state: dict[str, int], params: dict[str, int], cash: int) -> dict[str, int]:
    """The order of payments in one go, into the same dict: no bounds, no types, no state to return to."""
    p, year = params, YEAR_MS * PPM
    paid = dict.fromkeys(("fee", "sen_int", "mez_int", "sen_prin", "mez_prin", "reserve_in", "reserve_out"), 0)
    for due, base, rate in (
        ("fee_due", "pool", "fee_ppm"),
        ("sen_due", "senior", "sen_ppm"),
        ("mez_due", "mezz", "mez_ppm"),
    ):
        state[due] += (2 * state[base] * p[rate] * p["period_ms"] + year) // (2 * year)
    for due, name in (("fee_due", "fee"), ("sen_due", "sen_int")):
        paid[name] = min(state[due], cash + state["reserve"])
        drawn = max(0, paid[name] - cash)
        cash -= paid[name] - drawn
        state["reserve"] -= drawn
        paid["reserve_out"] += drawn
        state[due] -= paid[name]
    if state["sen_due"] or state["default"] * PPM > p["default_trigger_ppm"] * p["pool0"]:
        state["amort"] = 1
    target = (2 * state["senior"] * p["reserve_ppm"] + PPM) // (2 * PPM)
    if not state["amort"]:
        paid["mez_int"] = min(cash, state["mez_due"])
        cash -= paid["mez_int"]
        paid["reserve_in"] = max(0, min(cash, target - state["reserve"]))
        cash -= paid["reserve_in"]
        state["reserve"] += paid["reserve_in"]
    if state["reserve"] > target:
        paid["reserve_out"] += state["reserve"] - target
        cash += state["reserve"] - target
        state["reserve"] = target
    paid["sen_prin"] = min(cash, state["senior"], state["senior"] if state["amort"] else p["sched"])
    cash -= paid["sen_prin"]
    state["senior"] -= paid["sen_prin"]
    if not state["amort"] or not state["senior"]:
        late = min(cash, state["mez_due"] - paid["mez_int"])
        paid["mez_int"] += late
        cash -= late
    state["mez_due"] -= paid["mez_int"]
    if not state["senior"]:
        paid["mez_prin"] = min(cash, state["mezz"])
        cash -= paid["mez_prin"]
        state["mezz"] -= paid["mez_prin"]
    paid["equity"] = cash
    return paid


def run_waterfall(quick: bool) -> list[Row]:
    """A pool's life over and over: it is repaid after some ten years, and begins anew."""
    count, rng = (QUICK_PERIODS if quick else PERIODS), Random(1)
    life = [rng.randrange(16 * 10**9) for _ in range(count)]

    def ours() -> None:
        state = STATE
        for collections in life:
            _, state = pay_waterfall(state, PARAMS, collections)
            if not state["mezz"]:
                state = STATE

    def plain() -> None:
        state = dict(STATE)
        for collections in life:
            pay_plainly(state, PARAMS, collections)
            if not state["mezz"]:
                state = dict(STATE)

    best, best_plain = take_turns(ours, plain, rounds=2 if quick else 7)
    return [Row("waterfall", count / best, "periods/s", "a plain function on dicts, unchecked", best_plain / best)]


# --- payouts -----------------------------------------------------------------------------------------


def make_holders(count: int) -> dict[bytes, int]:
    """Owners of a note and what each holds, in µ¥."""
    rng = Random(1)
    return {rng.randbytes(20): rng.randrange(1, 10**9) for _ in range(count)}


def transfer(balances: dict[bytes, int], source: bytes, target: bytes, amount: int) -> None:
    if balances[source] < amount:
        raise ValueError("not enough")
    balances[source] -= amount
    balances[target] += amount


def run_payouts(quick: bool) -> list[Row]:
    """The interest of a period to all holders of a note; the loop's parts are floors, and leave a rest in the pot."""
    holders, amount = make_holders(QUICK_HOLDERS if quick else HOLDERS), 2_301_369_863
    balances = dict.fromkeys([POT, *holders], 0)
    balances[POT] = 10**15

    def ours() -> None:
        for owner, part in zip(holders, pay_holders(amount, [*holders.values()]), strict=True):
            balances[owner] += part
        balances[POT] -= amount

    def loop() -> None:
        whole = sum(holders.values())
        for owner, held in holders.items():
            transfer(balances, POT, owner, amount * held // whole)

    best, best_loop = take_turns(ours, loop, rounds=2 if quick else 9)
    name = f"payouts to {len(holders):,} holders of a note"
    return [Row(name, len(holders) / best, "payouts/s", "a loop of transfers", best_loop / best)]


def run(quick: bool = False) -> list[Row]:
    return run_waterfall(quick) + run_payouts(quick) + run_lots(quick)


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv[1:]))
