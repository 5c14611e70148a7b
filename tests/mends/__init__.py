"""What the messages of this package tell the user to type: found in the source, and typed."""
