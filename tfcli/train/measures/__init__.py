"""What is measured on a validation beside its loss."""
