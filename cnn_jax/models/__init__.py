"""Networks: Linen modules, one file per family, and the layers they share."""
