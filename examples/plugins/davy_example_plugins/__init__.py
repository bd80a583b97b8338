"""Plug-ins for Davy: how far an input lies from what a model was shown, and whether more and more inputs lie far."""
