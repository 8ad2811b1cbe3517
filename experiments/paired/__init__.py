"""What can be known from paired losses, and at what price."""
