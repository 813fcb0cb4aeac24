"""From events to the record, its readers and its tables."""
