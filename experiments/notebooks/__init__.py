"""The notebooks of docs/notebooks, as the scripts that they are made of.

A comment that begins with `# %%` begins a cell; after `[markdown]` it is text.
"""
