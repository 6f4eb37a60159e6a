"""How labels are used: the five methods, and the one dispatch that fits or restores them.

`dispatch` (fit, restore), `zero_shot`, `in_context`, `linear_probe`, `lora`, `full_fine_tuning`.
"""
