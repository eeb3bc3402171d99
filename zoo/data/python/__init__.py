"""Values of a Python program as rows."""
