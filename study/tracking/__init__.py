"""The live W&B mirror; never read back.

`tracker` (open_tracker, replay), `trial_runs` (open_search_tracker), `wandb_report`; `cell_groups`
and `ledger` decide what goes into which run.
"""
