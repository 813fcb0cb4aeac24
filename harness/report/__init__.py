"""From verdicts, numbers and the environment to records, tables and a summary."""
