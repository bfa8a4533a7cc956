"""What lives in an open notebook: the playground's panel, and a canvas to draw on."""
