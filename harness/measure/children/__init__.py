"""What runs alone in a fresh process, so that nothing else is measured."""
