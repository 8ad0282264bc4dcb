"""What else a few examples are good for, on the same engine: lesions, findings, follow-up."""
