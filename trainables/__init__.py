"""Everything that runs where a cell runs: data, models, methods, self-training, Ray.

Folders import downwards only: `cluster`, `cells` and `tuning`, `self_training`, `methods`,
`inference`, `distributed`, `models`, then `data` and `storage`.
"""
