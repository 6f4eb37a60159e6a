"""The item browser, exports of item results, and logs for inspect_ai: all with question text.

`texts`, `browser`, `export`, `inspect_logs`.
"""
