"""The ``cascade`` network: one wave per layer, added to all before it."""
