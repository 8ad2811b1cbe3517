"""The tests ask nothing of the hub: this stands before its client is imported."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
