"""Many models at once: their weights as samples, and which of them come from one ancestor."""
