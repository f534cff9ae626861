"""Training in several processes: who does what, gradients added up, weights sharded."""
