"""The same classifier on other runtimes than torch: engines, exports, and the choice among them."""
