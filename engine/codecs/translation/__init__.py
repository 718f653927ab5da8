"""A client of one protocol, a backend of another: what both codecs' steps need, and the whole way there and back."""
