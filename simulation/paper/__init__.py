"""What text 000 reports, computed anew.

Start with `reproduce`.
"""
