"""Numbers to pages, tables and sentences; computes no statistic.

`content` (gather), `page`, `files` (write_report), `paper_figures`, `style`, `summary`, `terminal`,
`tables`, `findings`, `sentences`.
"""
