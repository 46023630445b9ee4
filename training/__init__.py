"""From label records to published weights: batches, masked losses, the one optimisation loop, evaluation."""
