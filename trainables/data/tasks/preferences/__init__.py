"""Tasks of preference pairs: items with two choices, the preferred one first or second.

`hh_rlhf`, `llmbar`, `micro_preferences`, `pandalm`, `preferences`, `rewardbench`, `ultrafeedback`.
"""
