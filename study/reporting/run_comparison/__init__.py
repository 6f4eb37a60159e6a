"""Two studies compared, for a reader: terminal, page and files.

`terminal` (comparison_parts), `files` (write_comparison), `sentences`.
"""
