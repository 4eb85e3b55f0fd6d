"""What a network has learnt inside: its filters and maps, what units and directions stand for, and where it came from.

Maps are those that models return, {name: [B, *spatial, D]}; here a unit is one of the D channels of one of them.
"""
