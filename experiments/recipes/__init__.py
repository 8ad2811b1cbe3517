"""How truly other trainers' validation follows the expected loss, per unit of compute."""
