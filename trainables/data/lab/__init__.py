"""The embedded lab: a synthetic world, its questions and preferences, and its base models.

`base_models` (folders of the shipped weights), `world`, `questions`, `preferences`, `documents`,
`tokenizer`, `pretrain`.
"""
