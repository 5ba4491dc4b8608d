"""Recordings and files: reading, writing, storage."""
