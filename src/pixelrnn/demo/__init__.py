"""A web page to play with a model (extra ``demo``): completions, samples, and the pixels that each layer sees."""
