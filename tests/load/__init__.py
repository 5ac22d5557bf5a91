"""Many processes that set and get at once while some are killed, requests fail and the collector deletes."""
