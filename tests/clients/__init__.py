"""Clients in other languages than our own, against a running Lexgate."""
