"""Meta-training: synthetic anatomies, episodes, and the loop that turns them into weights."""
