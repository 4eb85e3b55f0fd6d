"""What the commands share: the frame with its exit codes, experiment files and run folders."""
