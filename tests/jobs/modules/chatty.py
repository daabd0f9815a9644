"""Prints at import what is not there to be called."""

print("chatting")
