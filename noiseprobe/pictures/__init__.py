"""Pictures: photographs as they are read, what a live model draws, and how alike both are."""
