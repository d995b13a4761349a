"""Facts: entries with sources, language models, prices by year."""
