"""Reports of experiments and recordings: Markdown, one HTML page that needs nothing beside it, plots.

`document` is pure, `publish` writes the files.
"""
