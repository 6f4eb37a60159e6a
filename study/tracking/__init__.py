"""The live W&B mirror; never read back.

`tracker` (open_tracker), `wandb_runs`, `wandb_logs`, `wandb_report`, `rows`.
"""
