"""What state there is: rows as they and their refs tell it, and stored values looked at without loading them."""
