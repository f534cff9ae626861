"""What is learned: labels cleaned and balanced, a teacher's answers, and the loss on them."""
