"""Gradient training: the loop, objectives, adapters, checkpoint and resume.

`loop`, `objectives`, `adapters`, `peft_files`, `reward_head`, `resume`, `gradient_checkpointing`.
"""
