"""HTTP and WebSocket gateway: the older AMIRA server's interface and OpenAI's, over the client library."""
