"""One cell from inputs to record, and the worker that runs a queue of them.

`planned` (PlannedCell, Block), `inputs`, `run`, `outputs`, `policy`, `worker`. Ray is not imported.
"""
