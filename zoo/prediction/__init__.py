"""Rows with their answers, in one process or in many."""
