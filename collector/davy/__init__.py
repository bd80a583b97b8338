"""Davy."""
