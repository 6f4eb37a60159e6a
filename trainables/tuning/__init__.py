"""One recipe-search trial on easy labels, and what to try next.

`trial`, `optuna_sampler`.
"""
