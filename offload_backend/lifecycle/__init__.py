"""Who may delete a blob, and when: mark, quarantine, purge, and what people need around them."""
