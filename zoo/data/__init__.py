"""Files become rows, rows become encoded examples, examples become batches."""
