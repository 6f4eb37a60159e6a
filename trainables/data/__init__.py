"""The data of a task: items, frozen splits, seeded draws, hardness measures, label noise.

`items`, `task` (TaskData, SplitTask), `splits`, `draws`, `seeding`, `measures`, `level_cuts`,
`label_noise`. Torch is not imported.
"""
