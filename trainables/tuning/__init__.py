"""One recipe-search trial on easy labels, and what to try next.

`search`, `trial`, `optuna_sampler`.
"""
