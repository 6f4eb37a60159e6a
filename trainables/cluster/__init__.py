"""Where blocks run: the only code that knows Ray and the clouds, and its in-process twin.

`tuner` (Ray Tune), `block_trial` (Ray Train), `in_process`, `capacity`, `spot_watcher`,
`machine_checks`.
"""
