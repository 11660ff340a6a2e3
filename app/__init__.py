"""The web application: HTTP, WebRTC, WebSocket and wire protocols around `kame_core`."""
