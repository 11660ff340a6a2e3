"""Calls over WebRTC: the peer connection, its sound, its messages."""
