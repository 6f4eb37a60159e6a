"""One SSRM round: score the unlabelled pool, select, build the training set, detect collapse.

`rounds` (one round), `selection`, `confidence`, `temperature`, `training_set`, `unlabelled`,
`detectors`. Gold labels of the pool are never used; only `rounds` imports torch.
"""
