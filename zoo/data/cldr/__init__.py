"""Rows made of the Unicode CLDR, which the package Babel holds."""
