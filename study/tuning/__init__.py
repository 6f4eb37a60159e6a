"""Recipe searches of a space: what each may see, its history, its budget.

`searches`, `job`, `results`, `budget`.
"""
