"""What a run leaves behind for people: the metric log, the progress display, the figures."""
