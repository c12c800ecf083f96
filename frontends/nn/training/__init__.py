"""Training as in Keras: compile, fit, evaluate, predict, save."""
