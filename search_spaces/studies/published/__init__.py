"""Studies that repeat or extend the papers' experiments.

`cost`, `gap`, `hase2024`, `mdl`, `noise`, `ssrm_rm`.
"""
