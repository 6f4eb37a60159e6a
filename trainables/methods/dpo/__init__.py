"""Policies by DPO: sampling, candidate pairs, training.

`trainer`, `sampling`, `candidates`.
"""
