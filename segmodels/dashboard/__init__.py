"""The dashboard: which model, whether that is certain, what it costs and what it gets wrong. Reads; changes nothing."""
