"""Reward models (RewardBench sections, ceilings) and policy win rates.

`reward_models`, `rewardbench`, `policies`.
"""
