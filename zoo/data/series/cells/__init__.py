"""Cells of tables of series: what they mean as times and as numbers."""
