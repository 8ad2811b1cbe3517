"""What is lost where losses are tracked within a budget rather than at every step."""
