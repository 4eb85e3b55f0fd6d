"""What a model is and what it looks at; reads models and their variables, and knows no task."""
