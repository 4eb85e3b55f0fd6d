"""What a model is, read off its trace: one tracer, one count of multiply-adds. Nothing is computed or compiled."""
