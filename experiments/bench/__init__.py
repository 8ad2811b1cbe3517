"""Speed and memory of the parts that a user waits for."""
