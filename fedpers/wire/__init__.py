"""What travels between server and clients, and the border to Flower's messages."""
