"""Visual question answering: a vision-language model answers questions with only allowed values."""
