"""Rows made from Unicode CLDR, which the package Babel contains."""
