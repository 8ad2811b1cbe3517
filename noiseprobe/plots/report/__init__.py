"""One self-contained HTML page of what was found: labelled contents, charts of them, the page."""
