"""What training learns: cleaned and balanced labels, a teacher's answers, and the loss on both."""
