"""Numbers that papers print, matched to a study's own.

`comparison` (compare), `matching`, `result` (Paper, PublishedResult).
"""
