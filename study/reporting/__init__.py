"""Numbers to pages, tables and sentences; computes no statistic.

`content` (gather), `page`, `files` (write_report), `summary`, `terminal`, `tables`, `findings`,
`sentences`.
"""
