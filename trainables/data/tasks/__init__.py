"""One module a task, and the registry that names them.

`registry` (TASKS, load_task), `published_sizes` (what is known of a task without its data).
"""
