"""How the defaults of the bundled model were chosen, and what the analysis shows with them."""
