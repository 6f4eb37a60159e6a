"""How any data set becomes a task: local files, the Hub, downloads, field checks.

`task_spec` (TaskSpec), `files`, `hub`, `function`, `columns`, `fetch`, `preference_pairs`.
"""
