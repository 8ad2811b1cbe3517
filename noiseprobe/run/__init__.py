"""What a run is: its settings, each declared once; its directory and its traces."""
