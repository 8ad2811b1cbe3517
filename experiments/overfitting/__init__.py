"""Long runs with a photograph held out: when overfitting begins, and what each stop is worth."""
