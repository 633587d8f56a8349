"""What is shipped: a trained model as a folder that others load."""
