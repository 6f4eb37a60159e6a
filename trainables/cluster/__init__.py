"""Where blocks and trials run: the only code that knows Ray and the clouds, or this process.

`executor` (Executor), `ray_executor`, `in_process`, `capacity`, `spot_watcher`, `machine_checks`.
"""
