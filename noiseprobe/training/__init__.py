"""A concept, a method that teaches it to a model, and the driver that trains it."""
