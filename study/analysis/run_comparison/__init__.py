"""Two studies compared: what they share, how their accuracies and SGRs differ, and why.

`differences` (compare_runs), `coordinates`, `identity`, `columns`.
"""
