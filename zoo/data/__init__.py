"""From files to rows, from rows to examples, from examples to batches."""
