"""The data card of one task.

`describe`, `text`, `html`.
"""
