"""Array functions without parameters: convolution, pooling, and what knows how a batch is split over devices."""
