"""A page to play with in the browser (extra ``demo``): completions, samples, and what each kind of layer sees."""
