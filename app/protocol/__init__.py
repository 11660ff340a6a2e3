"""Codecs between a conversation's events and wire messages."""
