"""Whether the survey's intervals hold, and what it finds, on raters whose preferences are known."""
