"""TensorRT engines of the graphs: precision variants, optimisation profiles, builds, and checks without a GPU."""
