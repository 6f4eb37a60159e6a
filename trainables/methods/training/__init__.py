"""Gradient training: the loop, objectives, adapters, checkpoint and resume.

`loop`, `objectives`, `adapters`, `reward_head`, `resume`, `gradient_checkpointing`.
"""
