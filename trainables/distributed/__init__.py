"""One training on several workers: engines, sharded base models, worker-group agreement.

`engine` (the protocol), `single_process`, `zero` (DeepSpeed), `select`, `worker_group`.
"""
