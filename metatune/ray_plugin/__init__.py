"""metatune in a `ray.tune.Tuner` of your own: a searcher, a scheduler and a callback."""
