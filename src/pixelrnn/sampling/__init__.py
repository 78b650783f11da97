"""Drawing images from a model, one sub-pixel after the other."""
