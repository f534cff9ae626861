"""The page on a model: how good it is here, what it promises, and what people make of its answers."""
