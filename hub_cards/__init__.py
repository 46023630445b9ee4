"""Model and dataset cards, publishing to the Hugging Face Hub (to come)."""
