"""Proof of credit assessment: headers, targets scaled by credit, eligibility and the retarget of N_diff.

Eqs (8) to (12) of text 000.
"""
