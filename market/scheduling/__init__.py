"""DU1, the scheduling chain: plans, quotas, the verdict on a trade list, contracts and meters.

Start with `contract`.
"""
