"""One recipe-search trial on easy labels, run by Ray Tune or in process.

`trial`, `ray_tune`, `in_process`, `optuna_sampler`.
"""
