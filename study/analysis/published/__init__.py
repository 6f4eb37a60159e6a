"""Published results and their matches in a study.

`comparison` (compare), `matching`, `papers` (PAPERS, PublishedResult).
"""
