"""Every other layer, and the backbone that all tasks share."""
