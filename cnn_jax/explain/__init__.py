"""Why a model said so: attribution, what lies inside the network, and tests of whether a map is true.

The functions here know no task and no family of networks. They agree on three things.

    Score         f(x [B, ...]) -> [B]    a pure, differentiable function: one number for each example, as the logit of
                                          a class, the score of a detected box or the mean logit of a mask's region.
                                          x is what the model reads, after normalisation: [B, H, W, C] or [B, L, C].
    Attribution   method(f, x, ...) -> [B, ...]      a map of x's shape, signed: what each number counts for f(x).
    Layer score   g(x) -> (scores [B], {name: [B, h, w, D]})    the same with the model's feature maps, for the CAMs:
                  method(g, x, layer, ...) -> [B, H, W]

f is always called with the B examples of x in their order, so it may have a target of its own for each of them; methods
that need many versions of x call it under `vmap` or `lax.map`, [N, B, ...] -> [N, B]. Random methods take `key`, and
`chunk`, the number of versions that are in memory at once. Variables are closed over, or arguments of the surrounding
`jit`. A map of one number per position, [B, H, W], is `positions(map)`: the sum over channels, which keeps the sign and
the total. `targets` makes f and g of a Predictor; `methods` lists all methods by name.
"""
