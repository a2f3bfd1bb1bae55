"""Proofs that any reader can check offline from the genesis alone.

`documents` is what a node hands out, `light_client` what a verifier needs to trust it.
"""
