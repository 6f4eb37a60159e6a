"""The data card of one task.

`describe`, `card`.
"""
