"""Time and memory of what a user waits for."""
