"""The language of a study: axes, recipes, conditions, cells and their ids.

`space` (Space, TaskAxis, Level, BaseModelRef, Contrast), `data_source` (DataSource, Columns),
`recipes`, `supervision`, `hardness`, `tuning`, `cell`, `registry` (a space by its name). It imports
only pydantic.
"""
