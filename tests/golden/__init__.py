"""What the formats looked like when they were released; today's code must still read it."""
