"""The same calls without UDP: OpenAI Realtime over a WebSocket, sound in messages."""
