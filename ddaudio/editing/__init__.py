"""Output of fitted models: rendered sound and tables of components."""
