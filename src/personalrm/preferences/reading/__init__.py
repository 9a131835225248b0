"""From files to preference pairs: kinds of files, layouts, what is wrong with which row."""
