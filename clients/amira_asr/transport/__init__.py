"""How audio gets to a server: in the message, or through memory that both share."""
