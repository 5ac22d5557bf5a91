"""What can be wrong with a deployment, seen from here: checks, each of them a few lines of what it looks at."""
