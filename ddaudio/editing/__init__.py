"""What is made of a fitted model: sound and tables."""
