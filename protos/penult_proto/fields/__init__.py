"""Fields of requests as the client's arguments and the server's configuration have them."""
