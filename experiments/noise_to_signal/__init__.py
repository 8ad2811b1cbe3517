"""How often noise-to-signal's interval holds the truth, whatever the fixed batch."""
