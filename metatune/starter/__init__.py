"""The experience that comes with metatune: how it is made."""
