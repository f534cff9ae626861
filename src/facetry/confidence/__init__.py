"""How sure a predictor is: calibrated probabilities, promised precision, and what keeps both true."""
