"""From numbers and limits to verdicts: pass, fail, no evidence."""
