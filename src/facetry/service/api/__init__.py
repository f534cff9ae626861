"""The routes, one file for each subject, and the bodies that they take and give."""
