"""The domain pack: what users ask and what right answers are."""
