"""How sure a predictor may be: calibrated probabilities, promised precision, and checks that both hold."""
