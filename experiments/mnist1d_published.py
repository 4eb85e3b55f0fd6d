"""MNIST-1D with its published network: three strided 1-D convolutions, 5,210 parameters.

Reproduces: Greydanus & Kobak 2024, "Scaling down deep learning with MNIST-1D", the CNN of its table (README: 94 %; the
    authors' recipe measured at the last step and not at its best on the test split: 93.57 ± 0.25 over 3 seeds).
Command: python launch.py train experiments/mnist1d_published.py --seeds=0,1,2
Time: to be measured
Expected: to be measured
"""
