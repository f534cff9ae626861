"""Visual question answering: a language model with eyes is asked, and answers only what is allowed."""
