"""The ``double-dutch`` network: a tree of wave pairs whose gates address time in binary."""
