"""The kinds of messages that take a period through the three chains, each named once, for its sender and its receiver.

Two more are no affair of the market: `ledger.sealers.SEALERS` and `ledger.outbox.OFFENCE`. What stands in each message,
what proves it and what it changes is in `docs/protocol.md`.
"""

QUOTA = "quota"  # DU1 to JY1: what each line may trade in a period
RESULT = "result"  # JY1 to DU1: a period's trades
VERDICT = "verdict"  # DU1 to JY1: which of them the grid cannot carry whole
POWER = "power"  # DU1 to LH1: the digest of the power-transaction block
METERED = "metered"  # DU1 to JY1: what the meters read in time
CORRECTED = "corrected"  # DU1 to JY1: what they read late, or anew
ACTUAL = "actual"  # DU1 to LH1: the digest of the actual-transaction block
DELIVERED = "delivered"  # JY1 to LH1: what was delivered of each trade
REDELIVERED = "redelivered"  # JY1 to LH1: the same, where a correction has changed it
SECOND_TARGET = "second-target"  # JY1 to LH1: who has committed a target for a period that had one
CREDIT = "credit"  # LH1 to the others: the credit of all who were ever scored
