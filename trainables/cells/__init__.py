"""One cell from inputs to record, and the worker that runs a queue of them. Ray is not imported.

`planned` (PlannedCell, Block), `worker` (the queue), `retries`, `runner`, `inputs`, `run`,
`record`, `trained_state` (its files), `policy`; `peak_memory` and `usage` (what a cell used).
"""
