"""What every room takes from the system: child processes, cached folders, hashes, locks, paths, progress."""
