"""How other libraries call the parts of the models, one file per family; each public function is one library's naming.

A naming maps the path of a module, or the name of a feature, to the name that it has elsewhere. A family whose layers
read a flattened map says so in FLATTENED; see `cnn_jax.weights.convert`.
"""
