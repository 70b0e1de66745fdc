"""What a bundle really costs, where it runs: raw samples, and the account of them."""
