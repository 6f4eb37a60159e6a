"""Sections of the page, in its order: each turns a report's content into charts and tables.

`section` is what they are made of, `page_sections` lists them.
"""
