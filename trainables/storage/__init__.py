"""The run folder: file system, layout, records, checkpoints, claims and the sweep lock.

`filesystem` (Storage: local, S3, Cloud Storage), `layout` (every file name), `records`, `failures`,
`checkpoints`, `claims`, `lock`, `heartbeat`, `addresses`. Torch and Ray are not imported.
"""
