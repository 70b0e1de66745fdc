"""Light experts and scores, compared on a model and data of one's own."""
