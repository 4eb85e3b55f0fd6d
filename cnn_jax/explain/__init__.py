"""Why a model said so: what it looks at, measured on its variables. Knows models and no task."""
