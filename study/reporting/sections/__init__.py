"""Sections of the page, in its order: each turns a report's content into charts and tables.

`section` declares their parts, `page_sections` lists them.
"""
