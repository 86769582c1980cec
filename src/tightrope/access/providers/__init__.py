"""The doors to identity providers."""
