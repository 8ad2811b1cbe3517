"""The personalization methods: what of the model is trained. One file per method."""
