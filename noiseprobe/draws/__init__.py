"""The five factors, the settings that redraw some of them, and the draws themselves."""
